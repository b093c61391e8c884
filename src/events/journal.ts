import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { Ahead, firstRetry, lastRetry } from './ahead.ts'
import type { Bounds } from './cursor.ts'
import { Entry } from './entry.ts'
import type { Append, Epoch, LaneRows, Opened, Trimmed } from './journal-protocol.ts'
import { boundsOf, defaultCheckAtOnce, type JournalOptions } from './journal-options.ts'
import { JournalReads } from './journal-reads.ts'
import { rowOf, type ExitRow, type NewEvent } from './journal-row.ts'
import { Lane } from './lane.ts'
import { Retention } from './retention.ts'
import { JournalError, JournalThread, checkJournal, type Ask } from './journal-thread.ts'

export type { ExitRow, JournalOptions, NewEvent }

type Waiting = { row: Append, committed: ((id: string) => void) | undefined, resolve: (id: string) => void, reject: (error: Error) => void }

/**
 * The append-only journal of events. An event is on disk before anybody is told of it. Numbers are given in the order
 * of the appends and without holes; appends of one turn of the loop, and all that come while a commit is under way,
 * share one commit.
 */
export class Journal extends JournalReads implements Bounds {
  readonly options: JournalOptions
  /** called with each committed batch, in the turn in which its `committed` callbacks run, before them */
  onCommitted: (entries: Entry[]) => void = () => {}
  /** called when the journal was set aside in mid-life: a new history has begun, and no position holds any more */
  onRenewed: () => void = () => {}
  readonly #thread: JournalThread
  readonly #ahead: Ahead | undefined
  #epochs: Epoch[] = []
  #head = 0
  #writable = true
  #waiting: Waiting[] = []
  /** what is being committed */
  #batch: Waiting[] | undefined
  #writing: Promise<void> | undefined
  #renewing: Promise<void> | undefined
  #closed = false
  /** ends a wait between two tries */
  #wake = (): void => {}
  readonly #checking = new AbortController()
  readonly #kept: Retention

  private constructor (options: JournalOptions, lane: Lane | undefined, left: LaneRows | undefined) {
    super()
    this.options = options
    const { path, bootId, retainEvents, retainDays, checkAtOnce = defaultCheckAtOnce } = options
    this.#thread = new JournalThread({ path, bootId, retainEvents, retainDays, retainBytes: this.retention.bytes, checkAtOnce, lane: lane?.id ?? '', ...(left === undefined ? {} : { left }) }, (error) => {
      options.log.error({ err: error }, "the journal's thread was lost; another one takes over")
      this.#writable = false
      void this.#restart()
    })
    this.#ahead = lane === undefined
      ? undefined
      : new Ahead({
        lane,
        epoch: () => this.epoch,
        store: async (epoch, first, rows) => await this.#thread.ask({ op: 'append', epoch, first, rows }),
        stored: () => this.#works(),
        failed: async (error, epoch, delay) => await this.#failed(error, epoch, delay)
      })
    this.#kept = new Retention({
      retainEvents,
      trim: async () => await this.#question({ op: 'trim' }) as Trimmed,
      failed: (error) => { if (!this.#closed) options.log.warn({ err: error }, 'old events could not be removed') }
    })
  }

  /** A damaged file is set aside whole and a new history begins; rejects only when there can be no journal at all. */
  static async open (options: JournalOptions): Promise<Journal> {
    let opened: ReturnType<typeof Lane.open> | undefined
    try {
      if (options.lane !== undefined) opened = Lane.open(options.lane)
    } catch (error) {
      options.log.warn({ err: error }, 'there can be no lane for events: each is committed before it is told')
    }
    const journal = new Journal(options, opened?.lane, opened?.left)
    try {
      journal.#adopt(await journal.#thread.start())
      // All that was left in it is in the database.
      opened?.lane.clear()
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
    if (this.#epochs.length > 0 && this.epoch !== epochs.at(-1)?.epoch) this.#carry()
    this.#epochs = epochs
    this.#head = head
    this.#kept.first = first
    if (setAside !== undefined) log.error({ setAside }, 'the journal was damaged; it was set aside whole, and a new one with a new epoch begins')
    if (cut) log.warn({ epoch: this.epoch }, 'the machine went down while the journal was open, so its last events may be missing: a new epoch begins')
    if (!unchecked) return
    const { epoch } = this
    checkJournal(path, this.#checking.signal).then((wrong) => {
      if (wrong !== null) void this.#renew(wrong, epoch)
    }, (error: unknown) => {
      if (!this.#closed) log.warn({ err: error }, 'the journal could not be checked for damage')
    })
  }

  protected override async ask (ask: Ask | (() => Ask)): Promise<unknown> {
    const { epoch } = this
    await this.#ahead?.settle()
    return await this.#question(typeof ask === 'function' ? ask() : ask, epoch)
  }

  /**
   * Whoever meets damage has the journal renewed, and is answered by the new one. Only a place in the old one (`asked`)
   * is none in the new one: events_gone.
   */
  async #question (ask: Ask, asked = this.epoch): Promise<unknown> {
    const { epoch } = this
    const ended = (cause?: unknown): Error => new LongshoreError('events_gone', 'the journal was damaged and is set aside: a new history has begun', { cause })
    try {
      const answer = await this.#thread.ask(ask)
      if (ask.op === 'read' && this.epoch !== asked) throw ended()
      return answer
    } catch (error) {
      if (!(error instanceof JournalError) || error.kind !== 'damaged') throw error
      await this.#renew(error.message, epoch)
      if (this.epoch === epoch) throw error
      if (ask.op === 'read') throw ended(error)
      return await this.#thread.ask(ask)
    }
  }

  protected override get ahead (): Ahead | undefined {
    return this.#ahead
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
    return boundsOf(this.options)
  }

  /** false while commits fail: what is appended waits, and nobody is told */
  get writable (): boolean {
    return this.#writable
  }

  /**
   * Appends an event, and the exit it tells in the same transaction. Resolves with its id once it is committed; `committed` runs before that, in
   * order, in the turn in which readers are told. Rejects when the store has such an event already (a second exit, start, create or delete of a run), and when the journal is closed.
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
      if (this.#quick(batch)) continue
      this.#batch = batch
      await this.#commit(batch)
      this.#batch = undefined
    }
    this.#writing = undefined
  }

  /** Tells of events that are safe in the lane, without waiting for the database; false when they have to go the longer way. */
  #quick (batch: Waiting[]): boolean {
    const { epoch } = this
    const first = this.#head + 1
    if (!this.#writable || this.#closed || this.#renewing !== undefined) return false
    if (this.#ahead?.take(epoch, first, batch.map(({ row }) => row)) !== true) return false
    failpoint('journal.committed')
    this.#tell(batch, epoch, first)
    this.#ahead.follow()
    return true
  }

  /** What was told in a history that was lost is appended to the new one, before all else: readers are told of the gap, and exits are kept. */
  #carry (): void {
    const rows = this.#ahead?.abandon() ?? []
    if (rows.length === 0) return
    // A batch that waits for its turn was appended after them.
    const queue = this.#batch ?? this.#waiting
    const done = (row: Append): void => this.#ahead?.carried(row)
    // Rejected at the end of the daemon, they stay where the next one finds them.
    queue.unshift(...rows.map((row) => ({ row, committed: undefined, resolve: () => done(row), reject: () => { if (!this.#closed) done(row) } })))
    this.#writing ??= this.#write()
  }

  /** Tries until it succeeds: what has happened has happened, and its place in the sequence is taken. */
  async #commit (batch: Waiting[]): Promise<void> {
    // They come after what is on its way already.
    await this.#ahead?.flush()
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
        await this.#failed(error, epoch, delay)
        delay = Math.min(delay * 2, lastRetry)
        continue
      }
      this.#works()
      this.#ahead?.once.note(batch.map(({ row }) => row))
      failpoint('journal.committed')
      this.#tell(batch, epoch, first)
      return
    }
  }

  #works (): void {
    if (!this.#writable) this.options.log.warn({}, 'the journal can be written again')
    this.#writable = true
  }

  /** Renews a damaged journal, or waits a while; false when nothing is to be tried any more. */
  async #failed (error: unknown, epoch: string, delay: number): Promise<boolean> {
    if (this.#closed) return false
    const kind = error instanceof JournalError ? error.kind : 'failed'
    if (kind === 'stale' || kind === 'damaged') {
      await this.#renew((error as Error).message, epoch)
      if (this.epoch !== epoch) return true
    }
    if (this.#writable) this.options.log.error({ err: error }, 'the journal cannot be written; events wait in memory, and no new work is taken')
    this.#writable = false
    await this.#pause(delay)
    return true
  }

  /** One turn of the loop for all of it: who sees the state sees the event, and the other way round. Readers first: they are why this is in a hurry. */
  #tell (batch: Waiting[], epoch: string, first: number): void {
    const entries = batch.map(({ row }, index) => new Entry(epoch, first + index, row.type, row.containerId, row.labels, row.body))
    this.#head = first + batch.length - 1
    this.#kept.grew(batch.length)
    try {
      this.onCommitted(entries)
    } catch (error) {
      this.options.log.error({ err: error }, 'the readers could not be told of events')
    }
    for (const [index, { committed }] of batch.entries()) {
      try {
        committed?.(`${epoch}:${first + index}`)
      } catch (error) {
        this.options.log.error({ err: error, event: entries[index]?.json }, 'the state could not follow an event')
      }
    }
    for (const [index, { resolve }] of batch.entries()) resolve(`${epoch}:${first + index}`)
  }

  /** Waits for what was appended (not while it cannot be written), then ends the thread. */
  async close (): Promise<void> {
    this.#closed = true
    this.#kept.close()
    this.#checking.abort()
    this.#wake()
    await this.#writing
    await this.#ahead?.flush()
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
