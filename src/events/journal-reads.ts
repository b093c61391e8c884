import { LongshoreError } from '../errors.ts'
import type { EventType } from '../schemas/index.ts'
import type { Ahead } from './ahead.ts'
import { epochOf, locate, positionId, type Bounds, type Position } from './cursor.ts'
import { Entry, type Form } from './entry.ts'
import type { FilterQuery } from './filter.ts'
import type { Append, Epoch, StoredBytes, StoredExit, StoredPage } from './journal-protocol.ts'
import { exitRow, type ExitRow } from './journal-row.ts'
import type { Ask } from './journal-thread.ts'
import { runEvent, type RunEvent } from './run-event.ts'

/** Events in order; everything that matches up to `reached` is among them. */
export type Page = { entries: Entry[], reached: number }

/** What can be asked of the journal. */
export abstract class JournalReads implements Bounds {
  abstract get epochs (): readonly Epoch[]
  abstract get epoch (): string
  abstract get head (): number
  abstract get first (): number

  /** Asks the database, once what was told ahead of it is there (or could not be written). A function is called then. */
  protected abstract ask (ask: Ask | (() => Ask)): Promise<unknown>
  protected abstract get ahead (): Ahead | undefined

  /** The id of a place in the journal; locate() finds the place again. */
  positionId (after: number): string {
    return positionId(this, after)
  }

  locate (id: string): Position {
    return locate(this, id)
  }

  /**
   * The next events after a sequence number, oldest first: as many as fit a page (64 KiB or so) and `limit`.
   * `until`: the last one that matters, the head when absent.
   */
  async read (options: { after: number, limit?: number, until?: number, filter?: FilterQuery }): Promise<Page> {
    const { after, limit = Infinity, until = this.head, filter = {} } = options
    const { rows, reached } = await this.#read({ after, limit, until, filter }) as StoredPage
    return { entries: rows.map((row) => new Entry(epochOf(this, row.seq), row.seq, row.type, row.container_id, row.labels, row.body)), reached }
  }

  /** The same as bytes of a form, made in the journal's thread; undefined when nothing matches. */
  async readBytes (options: { after: number, until: number, filter: FilterQuery, form: Form }): Promise<{ bytes: Buffer | undefined, reached: number }> {
    const { bytes, reached } = await this.#read({ limit: Infinity, ...options }) as StoredBytes
    return { bytes: bytes === undefined ? undefined : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), reached }
  }

  async #read (options: { after: number, limit: number, until: number, filter: FilterQuery, form?: Form }): Promise<unknown> {
    // What is told and not in the database is read from memory by those who follow, and later by the others.
    return await this.ask(() => ({ op: 'read', ...options, until: Math.min(options.until, this.head - (this.ahead?.size ?? 0)) }))
  }

  /** The sequence number after which events are at or later than a time (milliseconds since 1970). */
  async before (time: number): Promise<number> {
    return await this.ask({ op: 'seqBefore', time }) as number
  }

  /** What has been told of a run, in order. */
  async eventsOfRun (runId: string): Promise<RunEvent[]> {
    const stored = await this.ask({ op: 'ofRun', runId }) as RunEvent[]
    const last = Number(stored.at(-1)?.id.split(':')[1] ?? 0)
    const ahead = this.#ahead().filter(({ seq, row }) => row.runId === runId && seq > last)
    const events = [...stored, ...ahead.map(({ seq, row }) => runEvent(epochOf(this, seq), seq, row.body))]
    this.ahead?.once.learn(runId, events)
    return events
  }

  /** True when an event of this type was told of a container after the place of an id. */
  async tells (options: { after: string, containerId: string, type: EventType }): Promise<boolean> {
    const { containerId, type } = options
    let { after } = locate(this, options.after)
    // Before the database is asked, as in exitAfter().
    if (this.#ahead().some(({ seq, row }) => seq > after && row.containerId === containerId && row.type === type)) return true
    const { epoch } = this
    while (after < this.head && this.epoch === epoch) {
      try {
        const { entries, reached } = await this.read({ after, limit: 1, filter: { containers: [containerId], types: [type] } })
        if (entries.length > 0) return true
        // The rest cannot be written to the database now, and was looked at.
        if (reached <= after) return false
        after = reached
      } catch (error) {
        // What a journal told that was lost meanwhile cannot be told from what it did not.
        if (error instanceof LongshoreError && error.code === 'events_gone') return false
        throw error
      }
    }
    return false
  }

  /** True when an event of this container is kept. */
  async knows (containerId: string): Promise<boolean> {
    return this.#ahead().some(({ row }) => row.containerId === containerId) || await this.ask({ op: 'knows', containerId }) as boolean
  }

  /** The exit of a run's process; without runId, of the container's last run. Kept at least a day after the container has gone. */
  async exitOf (options: { containerId: string, runId?: string, processId: string }): Promise<ExitRow | undefined> {
    const told = this.#told().findLast(({ containerId, runId, processId }) => containerId === options.containerId && processId === options.processId && (options.runId ?? runId) === runId)
    if (told !== undefined) return toldRow(told)
    const row = await this.ask({ op: 'exit', ...options }) as StoredExit | undefined
    return row?.container_id === options.containerId ? exitRow(row) : undefined
  }

  /** The first exit that was told after that of a run, of a later run of the same container; undefined as well when the run has no exit. */
  async exitAfter (options: { containerId: string, runId: string, processId: string }): Promise<ExitRow | undefined> {
    const { containerId, runId, processId } = options
    if (await this.exitOf(options) === undefined) return undefined
    // Before the database is asked: what is told now is in one of them, whatever comes in between.
    const told = this.#told().filter((exit) => exit.containerId === containerId && exit.processId === processId)
    const stored = exitRow(await this.ask({ op: 'exitAfter', ...options }) as StoredExit | undefined)
    if (stored !== undefined || told.length === 0) return stored
    // Its own is there, so it is in the database when it is not among them, and before all of them.
    const own = told.findIndex((exit) => exit.runId === runId)
    const next = told.slice(own + 1).find((exit) => exit.runId !== runId)
    return next === undefined ? undefined : toldRow(next)
  }

  /** Gives back memory of the thread that only its start needed. */
  async collectGarbage (): Promise<void> {
    await this.ask({ op: 'collect' })
  }

  /** What is told and not in the database. */
  #ahead (): { seq: number, row: Append }[] {
    return [...this.ahead?.numbered() ?? []]
  }

  /** Exits that are told and not in the database, oldest first: it cannot be asked for them while it cannot be written. */
  #told (): ToldExit[] {
    return this.ahead?.exits() ?? []
  }
}

type ToldExit = NonNullable<Append['exit']>

function toldRow (told: ToldExit): ExitRow {
  return { ...told, exit: JSON.parse(told.exit) as ExitRow['exit'] }
}
