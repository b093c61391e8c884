import { LongshoreError } from '../errors.ts'

/** How many clients read output at once: each holds a descriptor and about 64 KiB. */
export class Readers {
  #count = 0
  readonly #limit: number

  constructor (limit: number) {
    this.#limit = limit
  }

  get count (): number {
    return this.#count
  }

  /** Takes a place; throws too_many_requests when none is left. Returns the way to give it back, once. */
  take (): () => void {
    if (this.#count >= this.#limit) throw new LongshoreError('too_many_requests', `${this.#limit} readers of output are connected, which is the limit`, { extra: { retryAfter: 5 } })
    this.#count++
    let held = true
    return () => {
      if (held) this.#count--
      held = false
    }
  }
}
