import { Slots } from './lanes.ts'

/** undefined: broken off, so that it says nothing */
export type Outcome = { healthy: boolean, output: string } | undefined

/** a call of the runtime costs more than a thread that waits; neither takes a place from the verbs */
const places = { exec: 16, probe: 64 }

/** The checks that are under way: one for each container at most, and so many of each kind at once. */
export class HealthChecks {
  readonly #running = new Map<string, AbortController>()
  readonly #places = { exec: new Slots(places.exec), probe: new Slots(places.probe) }
  #closed = false

  has (id: string): boolean {
    return this.#running.has(id)
  }

  /** Runs a check when there is a place for it; its time begins then. */
  async run (id: string, kind: keyof typeof places, check: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> {
    if (this.#closed || this.#running.has(id)) return undefined
    const controller = new AbortController()
    this.#running.set(id, controller)
    const release = await this.#places[kind].take()
    try {
      const outcome = controller.signal.aborted ? undefined : await check(controller.signal)
      return controller.signal.aborted ? undefined : outcome
    } finally {
      release()
      this.#running.delete(id)
    }
  }

  /** Breaks off the check of a container: it is being paused, or has ended. */
  abort (id: string): void {
    this.#running.get(id)?.abort()
  }

  close (): void {
    this.#closed = true
    for (const controller of this.#running.values()) controller.abort()
  }
}
