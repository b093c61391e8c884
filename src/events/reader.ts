import type { Form } from './entry.ts'
import type { Filter } from './filter.ts'
import type { Group } from './group.ts'
import type { Sink, SinkOwner } from './sink.ts'

export type ReaderOptions = {
  /** sequence number after which it begins */
  after: number
  filter: Filter
  form: Form
  /** its own buffer is all that is ever held for the reader */
  sink: Sink
  /** the last sequence number of a stream that ends; absent to follow */
  until?: number
  /** seconds between Ping events; absent for none */
  ping?: number
  /** what comes before the first event, piece after piece as it takes them */
  preface?: Iterator<string>
}

/** A subscriber: a position in the journal and where to write. Nothing is queued for it, so it can neither lose events nor cost memory. */
export class Reader implements SinkOwner {
  /** sequence number that the other end can know of by an id it was sent */
  told: number
  readonly filter: Filter
  readonly form: Form
  readonly sink: Sink
  readonly until: number
  readonly ping: number | undefined
  preface: Iterator<string> | undefined
  /** those at the head that it is one of; undefined while it has a position of its own */
  group: Group | undefined
  /** its place in the group */
  place = -1
  /** when it left the head, or its sink was last seen full (milliseconds of the monotonic clock); undefined while it is neither */
  behindSince: number | undefined
  blockedSince: number | undefined
  /** a page of the journal is under way for it */
  fetching = false
  closed = false
  onDrained: (reader: Reader) => void = () => {}
  onGone: (reader: Reader) => void = () => {}
  #after: number

  constructor ({ after, filter, form, sink, until = Infinity, ping, preface }: ReaderOptions) {
    this.#after = this.told = after
    this.filter = filter
    this.form = form
    this.sink = sink
    this.until = until
    this.ping = ping
    this.preface = preface
  }

  /** everything up to here has been written, or did not match */
  get after (): number {
    return this.group?.position ?? this.#after
  }

  set after (seq: number) {
    this.#after = seq
  }

  get ready (): boolean {
    return !this.closed && !this.fetching && this.blockedSince === undefined
  }

  write (bytes: Buffer | string): void {
    this.sink.write(bytes)
    if (this.sink.full) this.blockedSince ??= performance.now()
  }

  drained (): void {
    this.blockedSince = undefined
    this.onDrained(this)
  }

  gone (): void {
    this.onGone(this)
  }
}
