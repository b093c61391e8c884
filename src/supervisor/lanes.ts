/** What is over at once returns nothing. Must neither throw nor reject. */
type Job = () => Promise<void> | undefined

/** Runs jobs one after another for each key, and keys beside each other. */
export class Lanes {
  readonly #lanes = new Map<string, Job[]>()

  /** Starts the job at once when its lane is idle. */
  push (key: string, job: Job): void {
    const waiting = this.#lanes.get(key)
    if (waiting !== undefined) {
      waiting.push(job)
      return
    }
    const lane: Job[] = []
    this.#lanes.set(key, lane)
    this.#run(key, lane, job)
  }

  /** True while a job of this key is under way or waits. */
  has (key: string): boolean {
    return this.#lanes.has(key)
  }

  get busy (): number {
    return this.#lanes.size
  }

  #run (key: string, lane: Job[], job: Job): void {
    for (let next: Job | undefined = job; next !== undefined; next = lane.shift()) {
      const over = next()
      if (over === undefined) continue
      void over.then(() => {
        const after = lane.shift()
        if (after === undefined) this.#lanes.delete(key)
        else this.#run(key, lane, after)
      })
      return
    }
    this.#lanes.delete(key)
  }
}

/** A number of places; whoever finds none waits in order. */
export class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor (places: number) {
    this.#free = places
  }

  async take (): Promise<() => void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    let given = false
    return () => {
      if (given) return
      given = true
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
