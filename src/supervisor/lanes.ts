/** Runs jobs one after another for each key, and keys beside each other. */
export class Lanes {
  readonly #lanes = new Map<string, (() => Promise<void>)[]>()

  /** Starts the job at once when its lane is idle. The job must not reject. */
  push (key: string, job: () => Promise<void>): void {
    const waiting = this.#lanes.get(key)
    if (waiting !== undefined) {
      waiting.push(job)
      return
    }
    this.#lanes.set(key, [])
    this.#run(key, job)
  }

  /** True while a job of this key is under way or waits. */
  has (key: string): boolean {
    return this.#lanes.has(key)
  }

  get busy (): number {
    return this.#lanes.size
  }

  #run (key: string, job: () => Promise<void>): void {
    void job().then(() => {
      const next = this.#lanes.get(key)?.shift()
      if (next === undefined) this.#lanes.delete(key)
      else this.#run(key, next)
    })
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
