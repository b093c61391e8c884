import { Slots } from './lanes.ts'

/** undefined: broken off, so that it says nothing */
export type Outcome = { healthy: boolean, output: string } | undefined

/** a call of the runtime costs more than a thread that waits; neither takes a place from the verbs */
const places = { exec: 16, probe: 64 }

/** The checks that are under way: one for each container at most, and so many of each kind at once. */
export class HealthChecks {
  readonly #running = new Map<string, { controller: AbortController, over: PromiseWithResolvers<void>, executing: boolean }>()
  readonly #held = new Set<string>()
  readonly #places = { exec: new Slots(places.exec), probe: new Slots(places.probe) }
  #closed = false

  has (id: string): boolean {
    return this.#running.has(id)
  }

  /** Runs a check when there is a place for it; its time begins then. */
  async run (id: string, kind: keyof typeof places, check: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> {
    if (this.#closed || this.#held.has(id) || this.#running.has(id)) return undefined
    const controller = new AbortController()
    const over = Promise.withResolvers<void>()
    const entry = { controller, over, executing: false }
    this.#running.set(id, entry)
    const release = await this.#places[kind].take()
    try {
      entry.executing = kind === 'exec' && !controller.signal.aborted
      const outcome = controller.signal.aborted ? undefined : await check(controller.signal)
      return controller.signal.aborted ? undefined : outcome
    } finally {
      release()
      this.#running.delete(id)
      over.resolve()
    }
  }

  /** Breaks off the check of a container: it is being paused, or has ended. */
  abort (id: string): void {
    this.#running.get(id)?.controller.abort()
  }

  /**
   * No check, and nothing in the container of one that was under way, until the function that is returned is called. A probe has
   * nothing in there, and one that still waits for its place never begins: neither is waited for, however long it takes.
   */
  async hold (id: string): Promise<() => void> {
    this.#held.add(id)
    this.abort(id)
    const running = this.#running.get(id)
    if (running?.executing === true) await running.over.promise
    return () => { this.#held.delete(id) }
  }

  close (): void {
    this.#closed = true
    for (const { controller } of this.#running.values()) controller.abort()
  }
}
