import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { EventType, EventView, ExitView } from '../schemas/index.ts'
import { nowNs, timestamp } from '../runtime/exit.ts'
import { Entry } from './entry.ts'
import type { Append, ExitRowStored, Opened, Reply, Request, StoredRow } from './journal-protocol.ts'

export type NewEvent = Omit<EventView, 'id' | 'timestamp'>
export type ExitRow = { runId: string, processId: string, containerId: string, exit: ExitView }

type Log = { warn: (details: object, message: string) => void, error: (details: object, message: string) => void }

export type JournalOptions = {
  path: string
  bootId: string
  retainEvents: number
  /** days */
  retainDays: number
  log: Log
}

type Waiting = { entry: Entry, row: Append, committed: ((id: string) => void) | undefined, resolve: (id: string) => void, reject: (error: Error) => void }

/** a request as it is asked, before it has its number */
type Ask = Request extends infer R ? R extends { id: number } ? Omit<R, 'id'> : never : never

const trimEveryMs = 60_000
const retryMs = 500
/** SQLITE_CONSTRAINT and its extended codes: the row is refused for what it is, so a retry would never end */
const constraint = 19

/**
 * The append-only journal of events. An event is on disk before anybody is told of it. Numbers are given in the order
 * of the appends and without holes; appends of one turn of the loop, and all that come while a commit is under way,
 * share one commit.
 */
export class Journal {
  readonly epoch: string
  readonly options: JournalOptions
  /** called with each committed batch, in the turn in which its `committed` callbacks ran */
  onCommitted: (entries: Entry[]) => void = () => {}
  #first: number
  #head: number
  #next: number
  #writable = true
  readonly #worker: Worker
  readonly #asked = new Map<number, { resolve: (value: unknown) => void, reject: (error: Error & { errcode?: number }) => void }>()
  #asks = 0
  #waiting: Waiting[] = []
  #writing = false
  #scheduled = false
  readonly #trimmer: NodeJS.Timeout

  private constructor (options: JournalOptions, worker: Worker, opened: Opened) {
    this.options = options
    this.epoch = opened.epoch
    this.#head = opened.head
    this.#next = opened.head + 1
    this.#first = opened.first
    this.#worker = worker
    worker.on('message', (reply: Reply) => this.#answered(reply))
    worker.on('error', (error) => {
      options.log.error({ err: error }, "the journal's thread failed")
      this.#writable = false
    })
    this.#trimmer = setInterval(() => { void this.#trim() }, trimEveryMs)
    this.#trimmer.unref()
  }

  static async open (options: JournalOptions): Promise<Journal> {
    const here = import.meta.url
    const { path, bootId, retainEvents, retainDays } = options
    const worker = new Worker(new URL(`journal-worker${extname(here)}`, here), { workerData: { path, bootId, retainEvents, retainDays } })
    const opened = await new Promise<Opened>((resolve, reject) => {
      worker.once('error', reject)
      worker.once('message', (reply: Reply) => {
        worker.removeListener('error', reject)
        resolve(reply.value as Opened)
      })
    })
    if (opened.setAside !== undefined) options.log.error({ setAside: opened.setAside }, 'the journal was damaged; it was set aside whole, and a new one with a new epoch begins')
    const journal = new Journal(options, worker, opened)
    void journal.#trim()
    return journal
  }

  /** sequence of the newest event that is committed */
  get head (): number {
    return this.#head
  }

  /** sequence of the oldest event that is kept */
  get first (): number {
    return this.#first
  }

  /** false while commits fail: what is appended waits, and nobody is told */
  get writable (): boolean {
    return this.#writable
  }

  /**
   * Appends an event, and the exit it tells in the same transaction. Resolves with its id once it is committed;
   * `committed` runs before that, in order, in the turn in which readers are told. Rejects when the store refuses a
   * second exit or start for one run.
   */
  append (event: NewEvent, committed?: (id: string) => void, exit?: ExitRow): Promise<string> {
    const seq = this.#next++
    const { type, containerId, labels, runId, processId } = event
    const ns = nowNs()
    const body = JSON.stringify({ ...event, timestamp: timestamp(ns) }).slice(1)
    const row: Append = {
      seq,
      time: Number(ns / 1_000_000n),
      type,
      containerId,
      runId: runId ?? null,
      processId: processId ?? null,
      labels: JSON.stringify(labels),
      body,
      ...(exit === undefined ? {} : { exit: { ...exit, exit: JSON.stringify(exit.exit) } })
    }
    const entry = new Entry(this.epoch, seq, type, containerId, labels, body)
    const done = new Promise<string>((resolve, reject) => {
      this.#waiting.push({ entry, row, committed, resolve, reject })
    })
    if (!this.#scheduled && !this.#writing) {
      this.#scheduled = true
      queueMicrotask(() => {
        this.#scheduled = false
        void this.#write()
      })
    }
    return done
  }

  async #write (): Promise<void> {
    if (this.#writing) return
    this.#writing = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await this.#commit(batch)
    }
    this.#writing = false
  }

  /** Tries until it succeeds: what has happened has happened, and its place in the sequence is taken. */
  async #commit (batch: Waiting[]): Promise<void> {
    for (;;) {
      try {
        await this.#ask({ op: 'append', rows: batch.map(({ row }) => row) })
        break
      } catch (error) {
        const { errcode, message } = error as Error & { errcode?: number }
        if (errcode !== undefined && (errcode & 0xff) === constraint) {
          await this.#refuse(batch, message)
          return
        }
        if (this.#writable) this.options.log.error({ err: error }, 'the journal cannot be written; events wait in memory, and no new work is taken')
        this.#writable = false
        await new Promise((resolve) => setTimeout(resolve, retryMs))
      }
    }
    if (!this.#writable) this.options.log.warn({}, 'the journal can be written again')
    this.#writable = true
    this.#told(batch)
  }

  /** One row of the batch was refused: each alone, so that only that one fails, and the numbers behind it move up. */
  async #refuse (batch: Waiting[], message: string): Promise<void> {
    const [only] = batch
    if (batch.length > 1) {
      for (const one of batch) await this.#commit([this.#renumber(one)])
      return
    }
    if (only === undefined) return
    this.options.log.error({ event: only.entry.json, reason: message }, 'the journal refused an event that it has already')
    this.#next--
    this.#waiting = this.#waiting.map((later) => this.#renumber(later, later.row.seq - 1))
    only.reject(new Error(`the journal refused the event: ${message}`))
  }

  #renumber (waiting: Waiting, seq = this.#head + 1): Waiting {
    if (waiting.row.seq === seq) return waiting
    const { type, containerId, labels } = waiting.entry
    return { ...waiting, row: { ...waiting.row, seq }, entry: new Entry(this.epoch, seq, type, containerId, labels, waiting.row.body) }
  }

  #told (batch: Waiting[]): void {
    this.#head = batch.at(-1)?.row.seq ?? this.#head
    for (const { entry, committed } of batch) {
      try {
        committed?.(entry.id)
      } catch (error) {
        this.options.log.error({ err: error, event: entry.json }, 'the state could not follow an event')
      }
    }
    this.onCommitted(batch.map(({ entry }) => entry))
    for (const { entry, resolve } of batch) resolve(entry.id)
  }

  /** The next events after a sequence number, oldest first; those of one container when asked. */
  async read (options: { after: number, limit: number, containerId?: string }): Promise<Entry[]> {
    const rows = await this.#ask({ op: 'read', ...options }) as StoredRow[]
    return rows.map(({ seq, type, container_id: containerId, labels, body }) =>
      new Entry(this.epoch, seq, type as EventType, containerId, JSON.parse(labels) as Record<string, string>, body))
  }

  /** The sequence number after which events are at or later than a time (milliseconds since 1970). */
  async before (time: number): Promise<number> {
    return await this.#ask({ op: 'seqBefore', time }) as number
  }

  /** What has been told of a run. */
  async eventsOfRun (runId: string): Promise<{ type: EventType, processId?: string }[]> {
    const rows = await this.#ask({ op: 'ofRun', runId }) as { type: EventType, process_id: string | null }[]
    return rows.map(({ type, process_id: processId }) => ({ type, ...(processId === null ? {} : { processId }) }))
  }

  /** True when an event of this container is kept. */
  async knows (containerId: string): Promise<boolean> {
    return await this.#ask({ op: 'knows', containerId }) as boolean
  }

  /** The exit of a run's process; without runId, of the container's last run. Kept at least a day after the container has gone. */
  async exitOf (options: { containerId: string, runId?: string, processId: string }): Promise<ExitRow | undefined> {
    const row = await this.#ask({ op: 'exit', ...options }) as ExitRowStored | null
    if (row === null || row.container_id !== options.containerId) return undefined
    return { runId: row.run_id, processId: row.process_id, containerId: row.container_id, exit: JSON.parse(row.exit) as ExitView }
  }

  /** Waits for what was appended (not while it cannot be written), then ends the thread. */
  async close (): Promise<void> {
    clearInterval(this.#trimmer)
    while ((this.#writing || this.#scheduled || this.#waiting.length > 0) && this.#writable) await new Promise((resolve) => setImmediate(resolve))
    await this.#ask({ op: 'close' })
    await this.#worker.terminate()
  }

  async #trim (): Promise<void> {
    try {
      for (let more = true; more;) {
        const result = await this.#ask({ op: 'trim' }) as { first: number, more: boolean }
        this.#first = result.first
        more = result.more
      }
    } catch (error) {
      this.options.log.warn({ err: error }, 'old events could not be removed')
    }
  }

  #ask (ask: Ask): Promise<unknown> {
    const id = ++this.#asks
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject })
      this.#worker.postMessage({ ...ask, id })
    })
  }

  #answered (reply: Reply): void {
    const asked = this.#asked.get(reply.id)
    this.#asked.delete(reply.id)
    if (reply.error === undefined) asked?.resolve(reply.value)
    else asked?.reject(Object.assign(new Error(reply.error), reply.errcode === undefined ? {} : { errcode: reply.errcode }))
  }
}
