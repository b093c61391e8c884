import type { Append } from './journal-protocol.ts'
import { JournalError } from './journal-thread.ts'
import type { Lane } from './lane.ts'
import { Once, toldOnly } from './once.ts'

/** milliseconds that an event waits for company on its way into the database: under load each commit takes many */
const gather = 5
/** milliseconds between tries of a commit that fails, doubled from the first to the last */
export const firstRetry = 50
export const lastRetry = 5000

export type AheadOptions = {
  lane: Lane
  /** of the history that goes on */
  epoch: () => string
  /** One commit; rejects with JournalError. */
  store: (epoch: string, first: number, rows: Append[]) => Promise<unknown>
  /** They are in the database. */
  stored: () => void
  /** A commit to this history failed: resolves when it is to be tried again (true), or not any more. */
  failed: (error: unknown, epoch: string, delay: number) => Promise<boolean>
}

/** Events that are told ahead of the database: they are safe in the lane, and follow within milliseconds. */
export class Ahead {
  readonly once = new Once()
  readonly #options: AheadOptions
  #rows: Append[] = []
  /** sequence number of the first of them */
  #first = 0
  /** those of a history that was lost, on their way into the new one */
  readonly #carrying = new Set<Append>()
  #flushing: Promise<void> | undefined
  /** the last try failed, and none has succeeded since */
  #failing = false
  /** how many wait for all of it */
  #flushes = 0
  /** ends a wait for company */
  #wake = (): void => {}
  /** those who wait until all before this sequence number is stored, or a try has failed */
  #waiters: { end: number, resolve: () => void }[] = []

  constructor (options: AheadOptions) {
    this.#options = options
  }

  /** how many are not in the database yet */
  get size (): number {
    return this.#rows.length
  }

  /** Takes events that may be told at once, and then follow(); false when they have to be committed first. */
  take (epoch: string, first: number, rows: Append[]): boolean {
    // The lane is the only place for those that are being carried: until they are in the new history it has no room for others.
    if (this.#carrying.size > 0) return false
    if (!this.once.allows(rows) || !this.#options.lane.append(epoch, first, rows)) return false
    this.once.note(rows)
    if (this.#rows.length === 0) this.#first = first
    this.#rows.push(...rows)
    return true
  }

  /** What was taken goes into the database soon; to be called when it has been told. */
  follow (): void {
    this.#flushing ??= this.#flush()
  }

  /** Resolves when all of it is in the database, or there is nobody left to try. */
  async flush (): Promise<void> {
    if (this.#rows.length === 0) return
    this.#flushes++
    this.#wake()
    await (this.#flushing ??= this.#flush())
    this.#flushes--
  }

  /**
   * Resolves when what was taken until now is in the database. While that fails it waits for nothing: what is asked of
   * the database meanwhile has to do with what is there.
   */
  async settle (): Promise<void> {
    if (this.#rows.length === 0 || this.#failing) return
    const settled = new Promise<void>((resolve) => this.#waiters.push({ end: this.#first + this.#rows.length, resolve }))
    this.#wake()
    this.follow()
    await settled
  }

  /** Nobody waits for them yet, so that more may come along. */
  async #gather (): Promise<void> {
    if (this.#flushes > 0 || this.#waiters.length > 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, gather)
      this.#wake = () => { clearTimeout(timer); resolve() }
    })
  }

  async #flush (): Promise<void> {
    for (let delay = firstRetry; this.#rows.length > 0;) {
      await this.#gather()
      const all = this.#rows
      const rows = all.slice()
      const epoch = this.#options.epoch()
      try {
        await this.#options.store(epoch, this.#first, rows)
      } catch (error) {
        // They were given back meanwhile: whatever became of their history, nothing is wrong with the one that goes on.
        if (all !== this.#rows) {
          delay = firstRetry
          continue
        }
        const refused = error instanceof JournalError && error.kind === 'refused' ? rows[error.row] : undefined
        if (refused !== undefined) {
          // It was told, so it keeps its place; what the store has already is not touched by it.
          all[all.indexOf(refused)] = toldOnly(refused)
          continue
        }
        this.#failing = true
        this.#settled()
        if (!await this.#options.failed(error, epoch, delay)) break
        delay = Math.min(delay * 2, lastRetry)
        continue
      }
      delay = firstRetry
      this.#failing = false
      if (all !== this.#rows) continue
      all.splice(0, rows.length)
      this.#first += rows.length
      this.#options.lane.committed(this.#first - 1)
      this.#options.stored()
      this.#settled(this.#first)
    }
    // In one turn with the last look at what is there: who comes later begins anew.
    this.#flushing = undefined
    this.#settled()
  }

  /** Those who wait for nothing at or after `end` go on. */
  #settled (end = Infinity): void {
    const waiters = this.#waiters
    this.#waiters = waiters.filter((waiter) => waiter.end > end)
    for (const waiter of waiters) if (waiter.end <= end) waiter.resolve()
  }

  /** The history has ended in which they were told: gives back those that are not in the database. They are on their way until `carried`. */
  abandon (): Append[] {
    const rows = this.#rows
    this.#rows = []
    this.#failing = false
    for (const row of rows) this.#carrying.add(row)
    this.#settled()
    // Until then the next daemon would find them in the lane.
    if (this.#carrying.size === 0) this.#options.lane.clear()
    return rows
  }

  /** It is in the new history. */
  carried (row: Append): void {
    this.#carrying.delete(row)
    if (this.#carrying.size === 0) this.#options.lane.clear()
  }

  /** Those that are told and not in the database, with their sequence numbers. */
  * numbered (): Generator<{ seq: number, row: Append }> {
    for (const [index, row] of this.#rows.entries()) yield { seq: this.#first + index, row }
  }

  /** Exits among them, oldest first: those that the database cannot be asked for. */
  exits (): NonNullable<Append['exit']>[] {
    return [...this.#carrying, ...this.#rows].flatMap(({ exit }) => exit ?? [])
  }
}
