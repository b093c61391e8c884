import type { Writable } from 'node:stream'
import type { Entry } from './entry.ts'
import type { Filter } from './filter.ts'
import type { Journal } from './journal.ts'

export type Form = 'sse' | 'ndjson'

const tailEntries = 4096
const tailBytes = 4 * 1024 * 1024
const pageEntries = 500
/** readers written to in one turn of the loop */
const slice = 500

/** In-band frames that are not in the journal; they carry no id and so never move a reader's cursor. */
export function controlFrame (event: 'Gap' | 'Bye' | 'Snapshot' | 'Ping', data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}

/** A subscriber: a position in the journal and where to write. Nothing is queued for it, so it can neither lose events nor cost memory. */
export class Reader {
  after: number
  readonly filter: Filter
  readonly form: Form
  readonly sink: Writable
  /** the end of a finite stream, undefined to follow */
  readonly until: number | undefined
  /** the sink has had enough for now */
  blocked = false
  /** a page of the journal is being fetched for it */
  fetching = false
  closed = false
  /** sequence that the other end knows of */
  told: number

  constructor (options: { after: number, filter: Filter, form: Form, sink: Writable, until?: number }) {
    this.after = options.after
    this.told = options.after
    this.filter = options.filter
    this.form = options.form
    this.sink = options.sink
    this.until = options.until
  }
}

type Log = { warn: (details: object, message: string) => void }

/** Tells every reader of every event after its position: from memory when it is near the head, else in pages from the journal. */
export class Hub {
  readonly #journal: Journal
  readonly #log: Log
  readonly #readers = new Set<Reader>()
  readonly #heartbeat: NodeJS.Timeout
  #tail: Entry[] = []
  #tailSize = 0
  #flushing = false
  #again = false
  /** the last joined frames of unfiltered readers: most of them are at the same place */
  #joined: { form: Form, from: number, to: number, bytes: Buffer } | undefined

  constructor (journal: Journal, options: { heartbeatSeconds: number, log: Log }) {
    this.#journal = journal
    this.#log = options.log
    journal.onCommitted = (entries) => this.#publish(entries)
    this.#heartbeat = setInterval(() => this.#beat(), options.heartbeatSeconds * 1000)
    this.#heartbeat.unref()
  }

  get size (): number {
    return this.#readers.size
  }

  /** Takes a reader in and writes what there is after its position. */
  add (reader: Reader): void {
    this.#readers.add(reader)
    reader.sink.on('drain', () => {
      reader.blocked = false
      this.#pump(reader)
    })
    reader.sink.on('close', () => this.remove(reader))
    reader.sink.on('error', () => this.remove(reader))
    this.#pump(reader)
  }

  remove (reader: Reader): void {
    reader.closed = true
    this.#readers.delete(reader)
  }

  /** Ends every stream, and says why where the form has a way to. */
  close (reason: string): void {
    clearInterval(this.#heartbeat)
    for (const reader of this.#readers) this.#end(reader, reason)
  }

  #end (reader: Reader, reason?: string): void {
    this.remove(reader)
    if (reason !== undefined && reader.form === 'sse') reader.sink.write(controlFrame('Bye', { reason }))
    reader.sink.end()
  }

  #publish (entries: Entry[]): void {
    for (const entry of entries) {
      this.#tail.push(entry)
      this.#tailSize += entry.json.length
    }
    let drop = 0
    while (this.#tail.length - drop > tailEntries || (this.#tailSize > tailBytes && this.#tail.length - drop > 1)) {
      this.#tailSize -= this.#tail[drop]?.json.length ?? 0
      drop++
    }
    if (drop > 0) this.#tail = this.#tail.slice(drop)
    if (this.#flushing) this.#again = true
    else this.#flush()
  }

  /** At once for the first readers, the rest in slices; what is committed meanwhile goes along with the next round, in one write. */
  #flush (): void {
    this.#flushing = true
    const round = this.#readers.values()
    const step = (): void => {
      for (let written = 0; written < slice; written++) {
        const { value, done } = round.next()
        if (done === true) {
          this.#flushing = false
          if (this.#again) {
            this.#again = false
            setImmediate(() => { if (!this.#flushing) this.#flush() })
          }
          return
        }
        this.#pump(value)
      }
      setImmediate(step)
    }
    step()
  }

  /** Writes what a reader lacks, as far as it takes it. */
  #pump (reader: Reader): void {
    if (reader.closed || reader.blocked || reader.fetching) return
    const end = Math.min(reader.until ?? Infinity, this.#journal.head)
    if (reader.after < end) {
      const oldest = this.#tail[0]?.seq ?? Infinity
      if (reader.after + 1 >= oldest) this.#fromTail(reader, reader.after + 1 - oldest, end)
      else void this.#fromJournal(reader, end)
    }
    if (reader.until !== undefined && reader.after >= reader.until && !reader.fetching && !reader.closed) this.#end(reader)
  }

  #fromTail (reader: Reader, index: number, end: number): void {
    const last = this.#tail.findLastIndex(({ seq }) => seq <= end)
    const { form, filter } = reader
    if (filter.open) {
      let joined = this.#joined
      if (joined === undefined || joined.form !== form || joined.from !== reader.after || joined.to !== end) {
        joined = { form, from: reader.after, to: end, bytes: join(this.#tail.slice(index, last + 1), form) }
        this.#joined = joined
      }
      reader.after = reader.told = end
      this.#write(reader, joined.bytes)
      return
    }
    this.#writeMatching(reader, this.#tail.slice(index, last + 1), end)
  }

  async #fromJournal (reader: Reader, end: number): Promise<void> {
    reader.fetching = true
    try {
      const containerId = reader.filter.container
      const page = await this.#journal.read({ after: reader.after, limit: pageEntries, ...(containerId === undefined ? {} : { containerId }) })
      const first = this.#journal.first
      if (reader.after + 1 < first && !reader.closed && reader.form === 'sse') {
        // It was overtaken by the retention while it read.
        this.#write(reader, Buffer.from(controlFrame('Gap', { requested: `${this.#journal.epoch}:${reader.after}`, firstAvailable: `${this.#journal.epoch}:${first}`, lost: first - reader.after - 1, reason: 'retention' })))
        reader.after = first - 1
      }
      const within = page.filter(({ seq }) => seq <= end)
      const reached = page.length < pageEntries ? end : (within.at(-1)?.seq ?? end)
      if (!reader.closed) this.#writeMatching(reader, within, Math.max(reached, reader.after))
    } catch (error) {
      this.#log.warn({ err: error }, 'a page of the journal could not be read for a reader')
      this.#end(reader, 'journal-unreadable')
    } finally {
      reader.fetching = false
    }
    this.#pump(reader)
  }

  #writeMatching (reader: Reader, entries: Entry[], end: number): void {
    const matching = entries.filter((entry) => reader.filter.matches(entry))
    reader.after = end
    if (matching.length === 0) return
    reader.told = matching.at(-1)?.seq ?? reader.told
    this.#write(reader, join(matching, reader.form))
  }

  #write (reader: Reader, bytes: Buffer): void {
    if (!reader.sink.write(bytes)) reader.blocked = true
  }

  /** A filtered reader is told how far it has come: an id without data moves the cursor and fires no event (HTML, 9.2.6). */
  #beat (): void {
    const comment = Buffer.from(':\n\n')
    for (const reader of this.#readers) {
      if (reader.blocked || reader.fetching) continue
      if (reader.form === 'ndjson') continue
      if (reader.after > reader.told) {
        reader.told = reader.after
        this.#write(reader, Buffer.from(`id: ${this.#journal.epoch}:${reader.after}\n\n`))
      } else {
        this.#write(reader, comment)
      }
    }
  }
}

function join (entries: Entry[], form: Form): Buffer {
  const [first] = entries
  if (entries.length === 1 && first !== undefined) return first[form]
  return Buffer.concat(entries.map((entry) => entry[form]))
}
