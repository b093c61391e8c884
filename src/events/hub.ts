import { setInterval as every } from 'node:timers'
import type { Entry } from './entry.ts'
import type { Journal } from './journal.ts'
import { Reader } from './reader.ts'
import { bookmark, controlFrame, heartbeat, retry } from './sse.ts'
import { Tail } from './tail.ts'

/** readers looked after in one turn of the loop */
const slice = 500
/** milliseconds that a stream which has been ended has to take what it was sent */
const endGrace = 2000

type Log = { warn: (details: object, message: string) => void }

export type HubOptions = {
  /** between comments that keep a stream alive */
  heartbeatSeconds: number
  /** that a reader may leave a full buffer (64 KiB or so) untouched before it is sent away; 60 when absent */
  stallSeconds?: number
  log: Log
}

/** Why a stream ends: `slow`, nothing was taken for too long; `journal-lost`, the journal was damaged and a new one began. */
export type Bye = 'shutdown' | 'slow' | 'journal-lost' | 'journal-unreadable' | 'retention'

/** Tells every reader of every event after its position: from memory when it is near the head, else in pages from the journal. */
export class Hub {
  readonly #journal: Journal
  readonly #options: HubOptions
  readonly #readers = new Set<Reader>()
  readonly #tail = new Tail()
  readonly #heartbeat: NodeJS.Timeout
  readonly #pings = new Map<Reader, NodeJS.Timeout>()
  #flushing = false
  /** something may be left to write after the round that is under way */
  #again = false
  #closed = false

  constructor (journal: Journal, options: HubOptions) {
    this.#journal = journal
    this.#options = options
    journal.onCommitted = (entries) => this.#publish(entries)
    journal.onRenewed = () => this.#renewed()
    this.#heartbeat = every(() => this.#beat(), options.heartbeatSeconds * 1000)
    this.#heartbeat.unref()
  }

  /** readers that are connected */
  get size (): number {
    return this.#readers.size
  }

  /** Takes a reader in and writes what there is after its position. */
  add (reader: Reader): void {
    const { sink, ping } = reader
    // It may have gone while its position was looked up: no `close` would come any more.
    if (sink.destroyed) return
    this.#readers.add(reader)
    sink.on('drain', () => {
      reader.blockedSince = undefined
      this.#pump(reader)
    })
    sink.on('close', () => {
      this.#quiet(reader)
      this.#readers.delete(reader)
    })
    sink.on('error', () => this.#quiet(reader))
    if (this.#closed) return this.#end(reader, 'shutdown')
    if (ping !== undefined && reader.form === 'sse') {
      const timer = every(() => { if (reader.ready) reader.write(controlFrame('Ping', { timestamp: new Date().toISOString() })) }, ping * 1000)
      this.#pings.set(reader, timer.unref())
    }
    if (sink.writableNeedDrain) reader.blockedSince = performance.now()
    this.#pump(reader)
  }

  /** Ends every stream, now and from now on. */
  close (reason: Bye): void {
    this.#closed = true
    clearInterval(this.#heartbeat)
    for (const reader of this.#readers) this.#end(reader, reason)
  }

  /** Nothing more is written to it. It counts until its connection has closed. */
  #quiet (reader: Reader): void {
    reader.closed = true
    clearInterval(this.#pings.get(reader))
    this.#pings.delete(reader)
  }

  /** Without a reason the stream is complete, and its reader may take its time; with one it has a moment to hear it. */
  #end (reader: Reader, reason?: Bye): void {
    const { sink, form } = reader
    const ended = reader.closed
    this.#quiet(reader)
    reader.blockedSince ??= performance.now()
    if (reason !== undefined) setTimeout(() => sink.destroy(), endGrace).unref()
    if (ended) return
    // JSON lines have no word for it: a stream that breaks off is not mistaken for one that has been told to its end.
    if (reason !== undefined && reason !== 'shutdown' && form === 'ndjson') {
      sink.destroy()
      return
    }
    sink.end(reason !== undefined && form === 'sse' ? `${retry()}${controlFrame('Bye', { reason })}` : undefined)
  }

  #publish (entries: Entry[]): void {
    this.#tail.push(entries)
    this.#flush()
  }

  /** Positions in a journal that was lost are no positions: its readers come back and are told of the gap. */
  #renewed (): void {
    this.#tail.clear()
    for (const reader of this.#readers) this.#end(reader, 'journal-lost')
  }

  /**
   * A round through all readers: at once for the first ones, the rest in slices. What is committed meanwhile goes along,
   * in one write for each, or with the next round. Who joins in the middle is at its own position and gets no more than
   * it lacks.
   */
  #flush (): void {
    if (this.#flushing) {
      this.#again = true
      return
    }
    this.#flushing = true
    this.#again = false
    this.#slices((reader) => this.#pump(reader), () => {
      this.#flushing = false
      if (this.#again) setImmediate(() => this.#flush())
    })
  }

  #slices (each: (reader: Reader) => void, done = (): void => {}): void {
    const round = this.#readers.values()
    const step = (): void => {
      for (let count = 0; count < slice; count++) {
        const next = round.next()
        if (next.done === true) return done()
        each(next.value)
      }
      setImmediate(step)
    }
    step()
  }

  /** Writes one chunk of what a reader lacks; the rest comes with the next rounds. */
  #pump (reader: Reader): void {
    if (!reader.ready) return
    const end = Math.min(reader.until, this.#journal.head)
    if (reader.after < end) {
      if (!this.#tail.covers(reader.after)) {
        void this.#page(reader, end)
        return
      }
      const { to, bytes } = this.#tail.chunk(reader.after, end, reader.form, reader.filter)
      this.#advance(reader, to, bytes)
    }
    if (reader.after >= reader.until) this.#end(reader)
    else if (reader.after < end && reader.ready) this.#later()
  }

  #later (): void {
    if (this.#flushing) {
      this.#again = true
    } else if (!this.#again) {
      this.#again = true
      setImmediate(() => { if (!this.#flushing) this.#flush() })
    }
  }

  #advance (reader: Reader, to: number, bytes: Buffer | undefined): void {
    reader.after = to
    if (bytes === undefined || bytes.length === 0) return
    // With a filter the last event written may be older than `to`; the difference is what a bookmark is for.
    if (reader.filter.open) reader.told = to
    reader.write(bytes)
  }

  async #page (reader: Reader, end: number): Promise<void> {
    const { form, filter } = reader
    reader.fetching = true
    try {
      const { entries, reached } = await this.#journal.read({ after: reader.after, until: end, filter: filter.query })
      if (reader.closed) return
      reader.fetching = false
      const { first } = this.#journal
      if (reader.after < first - 1) {
        // Retention overtook it while it read. JSON lines have no word for that.
        if (form === 'ndjson') return this.#end(reader, 'retention')
        const requested = this.#journal.positionId(reader.after)
        reader.write(controlFrame('Gap', { requested, firstAvailable: this.#journal.positionId(first), lost: first - 1 - reader.after, reason: 'retention' }))
      }
      const bytes = entries.length === 0 ? undefined : Buffer.from(entries.map((entry) => entry.text(form)).join(''))
      this.#advance(reader, Math.max(reached, first - 1), bytes)
    } catch (error) {
      if (reader.closed) return
      this.#options.log.warn({ err: error }, 'a page of the journal could not be read for a reader')
      this.#end(reader, 'journal-unreadable')
      return
    }
    this.#pump(reader)
  }

  /** Comments keep streams alive; a filtered reader is told how far it has come; who takes nothing for too long is sent away. */
  #beat (): void {
    const stall = (this.#options.stallSeconds ?? 60) * 1000
    const now = performance.now()
    this.#slices((reader) => {
      if (reader.blockedSince !== undefined && now - reader.blockedSince > stall) {
        this.#end(reader, 'slow')
      } else if (reader.ready && reader.form === 'sse') {
        if (reader.after === reader.told) return reader.write(heartbeat)
        reader.told = reader.after
        reader.write(bookmark(this.#journal.positionId(reader.after)))
      }
    })
  }
}
