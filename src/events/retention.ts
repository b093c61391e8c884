import type { Trimmed } from './journal-protocol.ts'

type RetentionOptions = {
  retainEvents: number
  /** the oldest events past the bounds are removed, a few hundred at a time */
  trim: () => Promise<Trimmed>
  failed: (error: unknown) => void
}

const trimEvery = 60_000
/** the most events between two looks at the bounds */
const trimAfter = 10_000

/** Keeps the journal within its bounds, in the background: between two chunks whatever else waits for the journal goes first. */
export class Retention {
  /** sequence of the oldest event that is kept; head + 1 when there is none */
  first = 1
  /** of the database file, as of the last look */
  bytes = 0
  readonly #options: RetentionOptions
  readonly #timer: NodeJS.Timeout
  #since = 0
  #trimming = false

  constructor (options: RetentionOptions) {
    this.#options = options
    this.#timer = setInterval(() => { void this.trim() }, trimEvery)
    this.#timer.unref()
  }

  /** So many events came in. */
  grew (count: number): void {
    this.#since += count
    if (this.#since > Math.min(trimAfter, this.#options.retainEvents / 10)) void this.trim()
  }

  async trim (): Promise<void> {
    if (this.#trimming) return
    this.#trimming = true
    this.#since = 0
    try {
      for (let more = true; more;) {
        const result = await this.#options.trim()
        this.first = result.first
        this.bytes = result.bytes
        more = result.more
      }
    } catch (error) {
      this.#options.failed(error)
    }
    this.#trimming = false
  }

  close (): void {
    clearInterval(this.#timer)
  }
}
