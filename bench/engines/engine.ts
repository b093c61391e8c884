/** what init of a container does: ends at once, or stays until it is killed */
export type Kind = 'true' | 'sleep'

/** The command for those that make a container of an image. */
export const command = { true: ['/bin/true'], sleep: ['/bin/sleep', '100000'] } as const

/**
 * One way to run containers, driven by its own interface over connections that stay open: no start of a command-line
 * program counts against it, but for the bare runtime, which is nothing else.
 */
export interface Engine {
  readonly name: string
  /** what it does besides, or otherwise, so that the figures are not like for like */
  readonly notes: string
  /** Starts its daemon on directories of its own; throws with what it said when it does not come up. */
  start: () => Promise<void>
  /** Ends it and everything that it runs. */
  stop: () => Promise<void>
  /** Removes every container, running or not. */
  clear: () => Promise<void>
  version: () => Promise<string>
  create: (id: string, kind: Kind) => Promise<void>
  begin: (id: string) => Promise<void>
  /** both in one, as a user of it would; `create` then `begin` where it has nothing shorter */
  launch: (id: string, kind: Kind) => Promise<void>
  /** Resolves at its exit event; asked for before the process may end. */
  exited: (id: string) => Promise<void>
  remove: (id: string) => Promise<void>
  /** init's pid on the host */
  pid: (id: string) => Promise<number>
  /** A signal that init ignores (SIGWINCH). */
  signal: (id: string) => Promise<void>
  /** the same as an HTTP request, for a client that makes more of them in less time; undefined where it is none */
  signalRequest: ((id: string) => HttpRequest) | undefined
  /** those whose CPU time a signal costs */
  signallers: () => Promise<number[]>
  /** its daemon and the helpers of its containers, none of the containers' own processes */
  processes: () => Promise<number[]>
  /** kill -9 of the daemon, and up again until it answers for its containers; undefined where nothing stays up */
  restart: (() => Promise<void>) | undefined
  /** another reader of its events */
  listen: () => Promise<Listener>
}

export type HttpRequest = { socketPath: string, path: string, body?: string }

/** One more reader of events on a connection of its own. */
export type Listener = { exited: (id: string) => Promise<void>, close: () => void }

/** Who waits for an exit is told once; an exit that comes first is kept. */
export class Exits {
  readonly #waiting = new Map<string, () => void>()
  readonly #seen = new Set<string>()

  async of (id: string): Promise<void> {
    if (this.#seen.delete(id)) return
    await new Promise<void>((resolve) => this.#waiting.set(id, resolve))
  }

  tell (id: string): void {
    const resolve = this.#waiting.get(id)
    if (resolve === undefined) this.#seen.add(id)
    else {
      this.#waiting.delete(id)
      resolve()
    }
  }
}
