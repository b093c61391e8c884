import type { Writable } from 'node:stream'
import type { Form } from './entry.ts'
import type { Filter } from './filter.ts'

export type ReaderOptions = {
  /** sequence number after which it begins */
  after: number
  filter: Filter
  form: Form
  /** an HTTP response, as a rule; its own buffer is all that is ever held for the reader */
  sink: Writable
  /** the last sequence number of a stream that ends; absent to follow */
  until?: number
  /** seconds between Ping events; absent for none */
  ping?: number
}

/** A subscriber: a position in the journal and where to write. Nothing is queued for it, so it can neither lose events nor cost memory. */
export class Reader {
  /** everything up to here has been written, or did not match */
  after: number
  /** sequence number that the other end can know of by an id it was sent */
  told: number
  readonly filter: Filter
  readonly form: Form
  readonly sink: Writable
  readonly until: number
  readonly ping: number | undefined
  /** when the sink was full (milliseconds of the monotonic clock); undefined while it takes more */
  blockedSince: number | undefined
  /** a page of the journal is under way for it */
  fetching = false
  closed = false

  constructor ({ after, filter, form, sink, until = Infinity, ping }: ReaderOptions) {
    this.after = this.told = after
    this.filter = filter
    this.form = form
    this.sink = sink
    this.until = until
    this.ping = ping
  }

  get ready (): boolean {
    return !this.closed && !this.fetching && this.blockedSince === undefined
  }

  write (bytes: Buffer | string): void {
    if (!this.sink.write(bytes)) this.blockedSince ??= performance.now()
  }
}
