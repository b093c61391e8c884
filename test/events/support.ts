import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { Test } from 'tap'
import { Filter, type FilterInput } from '../../src/events/filter.ts'
import { Hub, type HubOptions } from '../../src/events/hub.ts'
import { Journal, type JournalOptions, type NewEvent } from '../../src/events/journal.ts'
import { Reader, type ReaderOptions } from '../../src/events/reader.ts'
import { StreamSink } from '../../src/events/sink.ts'
import type { ExitView } from '../../src/schemas/index.ts'

export type Logged = { level: 'warn' | 'error', details: any, message: string } // any: a log line may hold anything

export class TestLog {
  readonly lines: Logged[] = []
  warn (details: object, message: string): void { this.lines.push({ level: 'warn', details, message }) }
  error (details: object, message: string): void { this.lines.push({ level: 'error', details, message }) }
}

export async function temporary (t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-events-'))
  t.teardown(async () => await rm(directory, { recursive: true, force: true }))
  return directory
}

export function options (directory: string, more: Partial<JournalOptions> = {}): JournalOptions {
  return { path: join(directory, 'journal.db'), bootId: 'boot-1', retainEvents: 1_000_000, retainDays: 30, log: new TestLog(), ...more }
}

/** A journal that is closed at the end of the test. */
export async function openJournal (t: Test, more: Partial<JournalOptions> = {}): Promise<Journal> {
  const journal = await Journal.open(options(more.path === undefined ? await temporary(t) : '', more))
  t.teardown(async () => await journal.close())
  return journal
}

let counter = 0

/** An event that no other one of this process equals. */
export function event (more: Partial<NewEvent> = {}): NewEvent {
  return { type: 'StateUpdate', containerId: 'web', labels: {}, taskId: `task-${++counter}`, ...more }
}

export const exit: ExitView = { status: 143, signal: 'SIGTERM', oomKilled: false, reason: 'signaled', exitedAt: '2026-11-24T00:00:00.000000001Z', outputComplete: true }

export async function fill (journal: Journal, count: number, make: (n: number) => NewEvent = () => event()): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async (_, n) => await journal.append(make(n))))
}

/** Everything in the journal, through as many pages as it takes. */
export async function readAll (journal: Journal, after = journal.first - 1): Promise<any[]> { // any: events, as a client sees them
  const events: unknown[] = []
  while (after < journal.head) {
    const { entries, reached } = await journal.read({ after })
    events.push(...entries.map(({ json }) => JSON.parse(json)))
    after = reached
  }
  return events
}

/** A client with a small buffer that takes what it is sent only when it is let. */
export class Client extends Writable {
  text = ''
  /** each buffer as it came */
  readonly chunks: Buffer[] = []
  #held: (() => void)[] = []
  #paused = false

  constructor (highWaterMark = 1024 * 1024) {
    super({ highWaterMark, decodeStrings: true })
  }

  pause (): void {
    this.#paused = true
  }

  resume (): void {
    this.#paused = false
    for (const go of this.#held.splice(0)) go()
  }

  override _write (chunk: Buffer, _encoding: string, callback: () => void): void {
    const take = (): void => {
      this.chunks.push(chunk)
      this.text += chunk.toString()
      callback()
    }
    if (this.#paused) this.#held.push(take)
    else take()
  }

  frames (): Frame[] {
    return parse(this.text)
  }

  /** the ids of the events it got, in order */
  ids (): string[] {
    return this.frames().filter(({ id, data }) => id !== undefined && data !== undefined).map(({ id }) => id ?? '')
  }

  sequence (): number[] {
    return this.ids().map((id) => Number(id.split(':')[1]))
  }
}

export type Frame = { id?: string, event?: string, retry?: string, data?: any, comment?: string } // any: as a client sees it

/** Frames as they stand, bookmarks and comments too, which parsers for clients do not show. */
export function parse (text: string): Frame[] {
  return text.split('\n\n').slice(0, -1).map((block) => {
    const frame: Frame = {}
    for (const line of block.split('\n')) {
      const at = line.indexOf(':')
      const [name, value] = [line.slice(0, at), line.slice(at + 1).replace(/^ /, '')]
      if (name === '') frame.comment = value
      else if (name === 'data') frame.data = JSON.parse(value)
      else if (name === 'id' || name === 'event' || name === 'retry') frame[name] = value
      else throw new Error(`no such field: ${line}`)
    }
    return frame
  })
}

export async function until (condition: () => boolean | Promise<boolean>, what = 'the condition', seconds = 60): Promise<void> {
  const deadline = Date.now() + seconds * 1000
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come about within ${seconds} s`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve))

export function range (from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index)
}

type House = { journal: Journal, hub: Hub, log: TestLog }

/** A journal and its hub, which end with the test. */
export async function house (t: Test, more: Partial<HubOptions> = {}, journalOptions: Partial<JournalOptions> = {}): Promise<House> {
  const journal = await openJournal(t, journalOptions)
  const log = new TestLog()
  const hub = new Hub(journal, { heartbeatSeconds: 15, log, ...more })
  t.teardown(async () => await hub.close('shutdown'))
  return { journal, hub, log }
}

/** A reader of the hub's, and its client. */
export function follow (hub: Hub, after: number, more: Partial<Omit<ReaderOptions, 'filter' | 'sink'>> & { filter?: FilterInput, sink?: Client } = {}): { client: Client, reader: Reader } {
  const { filter = {}, form = 'sse', sink: client = new Client() } = more
  const reader = new Reader({ ...more, after, filter: new Filter(filter), form, sink: new StreamSink(client) })
  hub.add(reader)
  return { client, reader }
}

export async function overwrite (path: string, from: number, length: number): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(Buffer.alloc(length, 0xa5), 0, length, from)
  await file.close()
}
