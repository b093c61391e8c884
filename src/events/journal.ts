import { failpoint } from '../failpoints.ts'
import type { EventType } from '../schemas/index.ts'
import { epochOf, locate, positionId, type Bounds, type Position } from './cursor.ts'
import { Entry, type Form } from './entry.ts'
import type { FilterQuery } from './filter.ts'
import type { Append, Epoch, Opened, StoredBytes, StoredExit, StoredPage, Trimmed } from './journal-protocol.ts'
import { exitRow, rowOf, type ExitRow, type NewEvent } from './journal-row.ts'
import { Retention } from './retention.ts'
import { JournalError, JournalThread, checkJournal } from './journal-thread.ts'

export type { ExitRow, NewEvent }

/** Events in order; everything that matches up to `reached` is among them. */
export type Page = { entries: Entry[], reached: number }

type Log = { warn: (details: object, message: string) => void, error: (details: object, message: string) => void }

export type JournalOptions = {
  path: string
  /** of the kernel: another one than at the last opening means that the machine went down meanwhile */
  bootId: string
  retainEvents: number
  /** days */
  retainDays: number
  /** of the database file; 1 GiB when absent */
  retainBytes?: number
  log: Log
  /** bytes; a larger file is checked for damage beside its use. 64 MiB when absent */
  checkAtOnce?: number
}

type Waiting = { row: Append, committed: ((id: string) => void) | undefined, resolve: (id: string) => void, reject: (error: Error) => void }

const defaultRetainBytes = 1024 ** 3
/** milliseconds between tries of a commit that fails, doubled from the first to the last */
const firstRetry = 50
const lastRetry = 5000
/** bytes that are looked through in about a tenth of a second */
const defaultCheckAtOnce = 64 * 1024 * 1024

/**
 * The append-only journal of events. An event is on disk before anybody is told of it. Numbers are given in the order
 * of the appends and without holes; appends of one turn of the loop, and all that come while a commit is under way,
 * share one commit.
 */
export class Journal implements Bounds {
  readonly options: JournalOptions
  /** called with each committed batch, in the turn in which its `committed` callbacks ran */
  onCommitted: (entries: Entry[]) => void = () => {}
  /** called when the journal was set aside in mid-life: a new history has begun, and no position holds any more */
  onRenewed: () => void = () => {}
  readonly #thread: JournalThread
  #epochs: Epoch[] = []
  #head = 0
  #writable = true
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined
  #renewing: Promise<void> | undefined
  #closed = false
  /** ends a wait between two tries */
  #wake = (): void => {}
  readonly #checking = new AbortController()
  readonly #kept: Retention

  private constructor (options: JournalOptions) {
    this.options = options
    const { path, bootId, retainEvents, retainDays, retainBytes = defaultRetainBytes, checkAtOnce = defaultCheckAtOnce } = options
    this.#thread = new JournalThread({ path, bootId, retainEvents, retainDays, retainBytes, checkAtOnce }, (error) => {
      options.log.error({ err: error }, "the journal's thread was lost; another one takes over")
      this.#writable = false
      void this.#restart()
    })
    this.#kept = new Retention({
      retainEvents,
      trim: async () => await this.#thread.ask({ op: 'trim' }) as Trimmed,
      failed: (error) => { if (!this.#closed) options.log.warn({ err: error }, 'old events could not be removed') }
    })
  }

  /** A damaged file is set aside whole and a new history begins; rejects only when there can be no journal at all. */
  static async open (options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options)
    try {
      journal.#adopt(await journal.#thread.start())
    } catch (error) {
      journal.#kept.close()
      throw error
    }
    void journal.#kept.trim()
    return journal
  }

  #adopt (opened: Opened): void {
    const { epochs, head, first, setAside, cut, unchecked } = opened
    const { log, path } = this.options
    this.#epochs = epochs
    this.#head = head
    this.#kept.first = first
    if (setAside !== undefined) log.error({ setAside }, 'the journal was damaged; it was set aside whole, and a new one with a new epoch begins')
    if (cut) log.warn({ epoch: this.epoch }, 'the machine went down while the journal was open, so its last events may be missing: a new epoch begins')
    if (!unchecked) return
    checkJournal(path, this.#checking.signal).then((wrong) => {
      if (wrong !== null) void this.#renew(wrong)
    }, (error: unknown) => {
      if (!this.#closed) log.warn({ err: error }, 'the journal could not be checked for damage')
    })
  }

  get epochs (): readonly Epoch[] {
    return this.#epochs
  }

  /** of the history that goes on */
  get epoch (): string {
    return this.#epochs.at(-1)?.epoch ?? ''
  }

  /** sequence of the newest event that is committed */
  get head (): number {
    return this.#head
  }

  /** sequence of the oldest event that is kept; head + 1 when there is none */
  get first (): number {
    return this.#kept.first
  }

  /** of the database file, as of the last look at the bounds */
  get bytes (): number {
    return this.#kept.bytes
  }

  /** the bounds, and nothing else, drop events */
  get retention (): { events: number, days: number, bytes: number } {
    const { retainEvents, retainDays, retainBytes = defaultRetainBytes } = this.options
    return { events: retainEvents, days: retainDays, bytes: retainBytes }
  }

  /** false while commits fail: what is appended waits, and nobody is told */
  get writable (): boolean {
    return this.#writable
  }

  /** The id of a place in the journal; locate() finds the place again. */
  positionId (after: number): string {
    return positionId(this, after)
  }

  locate (id: string): Position {
    return locate(this, id)
  }

  /**
   * Appends an event, and the exit it tells in the same transaction. Resolves with its id once it is committed;
   * `committed` runs before that, in order, in the turn in which readers are told. Rejects when the store has such an
   * event of this run already (a second exit, start, create or delete), and when the journal is closed.
   */
  async append (event: NewEvent, committed?: (id: string) => void, exit?: ExitRow, ns?: bigint): Promise<string> {
    if (this.#closed) throw new Error('the journal is closed')
    const row = rowOf(event, exit, ns)
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ row, committed, resolve, reject })
      this.#writing ??= this.#write()
    })
  }

  async #write (): Promise<void> {
    // The rest of this turn's appends come along.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await this.#commit(batch)
    }
    this.#writing = undefined
  }

  /** Tries until it succeeds: what has happened has happened, and its place in the sequence is taken. */
  async #commit (batch: Waiting[]): Promise<void> {
    for (let delay = firstRetry; batch.length > 0;) {
      const { epoch } = this
      const first = this.#head + 1
      try {
        await this.#thread.ask({ op: 'append', epoch, first, rows: batch.map(({ row }) => row) })
      } catch (error) {
        const { kind, row } = error instanceof JournalError ? error : new JournalError({ kind: 'failed', message: '' })
        if (kind === 'refused') {
          // Only that one: those behind it move up.
          const [refused] = batch.splice(row, 1)
          this.options.log.error({ err: error, event: refused?.row.body }, 'the journal refused an event that it has already')
          refused?.reject(new Error(`the journal refused the event: ${(error as Error).message}`, { cause: error }))
          continue
        }
        if (this.#closed) {
          for (const { reject } of batch) reject(new Error('the journal was closed before it could be written', { cause: error }))
          return
        }
        if (kind === 'stale' || kind === 'damaged') {
          await this.#renew((error as Error).message, epoch)
          if (this.epoch !== epoch) continue
        }
        if (this.#writable) this.options.log.error({ err: error }, 'the journal cannot be written; events wait in memory, and no new work is taken')
        this.#writable = false
        await this.#pause(delay)
        delay = Math.min(delay * 2, lastRetry)
        continue
      }
      if (!this.#writable) this.options.log.warn({}, 'the journal can be written again')
      this.#writable = true
      failpoint('journal.committed')
      this.#tell(batch, epoch, first)
      return
    }
  }

  /** One turn of the loop for all of it: who sees the state sees the event, and the other way round. */
  #tell (batch: Waiting[], epoch: string, first: number): void {
    const entries = batch.map(({ row }, index) => new Entry(epoch, first + index, row.type, row.containerId, row.labels, row.body))
    this.#head = first + batch.length - 1
    this.#kept.grew(batch.length)
    for (const [index, { committed }] of batch.entries()) {
      try {
        committed?.(`${epoch}:${first + index}`)
      } catch (error) {
        this.options.log.error({ err: error, event: entries[index]?.json }, 'the state could not follow an event')
      }
    }
    try {
      this.onCommitted(entries)
    } catch (error) {
      this.options.log.error({ err: error }, 'the readers could not be told of events')
    }
    for (const [index, { resolve }] of batch.entries()) resolve(`${epoch}:${first + index}`)
  }

  /**
   * The next events after a sequence number, oldest first: as many as fit a page (64 KiB or so) and `limit`.
   * `until`: the last one that matters, the head when absent.
   */
  async read (options: { after: number, limit?: number, until?: number, filter?: FilterQuery }): Promise<Page> {
    const { after, limit = Infinity, until = this.#head, filter = {} } = options
    const { rows, reached } = await this.#read({ after, limit, until, filter }) as StoredPage
    return { entries: rows.map((row) => new Entry(epochOf(this, row.seq), row.seq, row.type, row.container_id, row.labels, row.body)), reached }
  }

  /** The same as bytes of a form, made in the journal's thread; undefined when nothing matches. */
  async readBytes (options: { after: number, until: number, filter: FilterQuery, form: Form }): Promise<{ bytes: Buffer | undefined, reached: number }> {
    const { bytes, reached } = await this.#read({ limit: Infinity, ...options }) as StoredBytes
    return { bytes: bytes === undefined ? undefined : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), reached }
  }

  async #read (options: { after: number, limit: number, until: number, filter: FilterQuery, form?: Form }): Promise<unknown> {
    try {
      return await this.#thread.ask({ op: 'read', ...options, until: Math.min(options.until, this.#head) })
    } catch (error) {
      if (error instanceof JournalError && error.kind === 'damaged') void this.#renew(error.message)
      throw error
    }
  }

  /** The sequence number after which events are at or later than a time (milliseconds since 1970). */
  async before (time: number): Promise<number> {
    return await this.#thread.ask({ op: 'seqBefore', time }) as number
  }

  /** What has been told of a run, in order. */
  async eventsOfRun (runId: string): Promise<{ id: string, type: EventType, timestamp: string, processId?: string, pid?: number }[]> {
    const rows = await this.#thread.ask({ op: 'ofRun', runId }) as { seq: number, type: EventType, timestamp: string, process_id: string | null, pid: number | null }[]
    return rows.map(({ seq, type, timestamp, process_id: processId, pid }) => ({ id: `${epochOf(this, seq)}:${seq}`, type, timestamp, ...(processId === null ? {} : { processId }), ...(pid === null ? {} : { pid }) }))
  }

  /** True when an event of this container is kept. */
  async knows (containerId: string): Promise<boolean> {
    return await this.#thread.ask({ op: 'knows', containerId }) as boolean
  }

  /** The exit of a run's process; without runId, of the container's last run. Kept at least a day after the container has gone. */
  async exitOf (options: { containerId: string, runId?: string, processId: string }): Promise<ExitRow | undefined> {
    const row = await this.#thread.ask({ op: 'exit', ...options }) as StoredExit | undefined
    return row?.container_id === options.containerId ? exitRow(row) : undefined
  }

  /** The first exit that was told after that of a run, of a later run of the same container; undefined as well when the run has no exit. */
  async exitAfter (options: { containerId: string, runId: string, processId: string }): Promise<ExitRow | undefined> {
    return exitRow(await this.#thread.ask({ op: 'exitAfter', ...options }) as StoredExit | undefined)
  }

  /** Waits for what was appended (not while it cannot be written), then ends the thread. */
  async close (): Promise<void> {
    this.#closed = true
    this.#kept.close()
    this.#checking.abort()
    this.#wake()
    await this.#writing
    await this.#renewing
    await this.#thread.close().catch((error: unknown) => {
      this.options.log.warn({ err: error }, 'the journal could not be closed in order')
    })
  }

  /** Sets the damaged journal aside and begins a new one, unless that was done since `seen` was the epoch. */
  async #renew (reason: string, seen = this.epoch): Promise<void> {
    if (seen !== this.epoch || this.#closed) return
    const renew = async (): Promise<void> => {
      try {
        this.#adopt(await this.#thread.ask({ op: 'renew', reason }) as Opened)
        this.onRenewed()
      } catch (error) {
        this.options.log.error({ err: error, reason }, 'the damaged journal could not be set aside')
      }
      this.#renewing = undefined
    }
    await (this.#renewing ??= renew())
  }

  async #restart (): Promise<void> {
    for (let delay = firstRetry; !this.#closed; delay = Math.min(delay * 2, lastRetry)) {
      await new Promise((resolve) => setTimeout(resolve, delay).unref())
      const { epoch } = this
      try {
        const opened = await this.#thread.start()
        // A commit whose answer was lost is told when it is tried again: until then the head stays where it was.
        this.#adopt({ ...opened, head: this.epoch === opened.epochs.at(-1)?.epoch ? this.#head : opened.head })
        if (this.epoch !== epoch) this.onRenewed()
        if (this.#waiting.length === 0 && this.#writing === undefined) this.#writable = true
        return
      } catch (error) {
        this.options.log.error({ err: error }, "the journal's thread could not be started again")
      }
    }
  }

  async #pause (milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#wake = () => { clearTimeout(timer); resolve() }
    })
  }
}
