/** The journal's own thread: it alone touches the database (journal-store.ts), so that no disk ever holds up the event loop. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { epochOf } from './cursor.ts'
import { Entry, reasonOf, type Form } from './entry.ts'
import { labelsMatch } from './labels.ts'
import type { Append, Epoch, Failure, Opened, Reply, Request, StoredBytes, StoredExit, StoredPage, StoredRow, Trimmed, WorkerData } from './journal-protocol.ts'
import { runEvent, type RunEvent } from './run-event.ts'
import { toldOnly } from './once.ts'
import { collectGarbage } from './garbage.ts'
import { isDamage, openStore, setAside, setMeta, usedBytes, type Store } from './journal-store.ts'

const { path, bootId, retainEvents, retainDays, retainBytes, checkAtOnce, lane } = workerData as WorkerData
/** until it is in the database */
let { left } = workerData as WorkerData
const day = 24 * 3600 * 1000
/** how long an exit can be asked for after its container went (a day is promised) */
const exitsKept = 7 * day
/** bounds of one piece of work: an append waits for no more than one of them */
const trimChunk = 500
/** events that a bound on bytes leaves, since exits take their part of the file too */
const fewest = 500
/** pages of the file that are given back with a chunk */
const vacuumPages = 256
const readRows = 100
const readBytes = 64 * 1024
const readSpan = 4000

/** SQLITE_CONSTRAINT, and its extended codes */
const constraint = 19

class Refused extends Error {
  readonly row: number
  constructor (row: number, cause: Error) {
    super(cause.message, { cause })
    this.row = row
  }
}

class Stale extends Error {}

function prepare (db: DatabaseSync) {
  // Absent filters are null. One statement walks the sequence, the other the container's index.
  const chosen = 'AND seq <= :until AND (:types IS NULL OR type IN (SELECT value FROM json_each(:types)))'
  const columns = 'seq, type, container_id, labels, body'
  return {
    insert: db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
    insertExit: db.prepare('INSERT INTO exits VALUES (?, ?, ?, ?, ?, NULL)'),
    gone: db.prepare('UPDATE exits SET gone_at = ? WHERE container_id = ? AND run_id IS NOT ? AND gone_at IS NULL'),
    bodyOf: db.prepare('SELECT body FROM events WHERE seq = ?'),
    timeOf: db.prepare('SELECT time FROM events WHERE seq = ?'),
    readAll: db.prepare(`SELECT ${columns} FROM events WHERE seq > :after ${chosen} AND (:containers IS NULL OR container_id IN (SELECT value FROM json_each(:containers))) ORDER BY seq LIMIT :limit`),
    readContainer: db.prepare(`SELECT ${columns} FROM events WHERE container_id = :container AND seq > :after ${chosen} ORDER BY seq LIMIT :limit`),
    ofRun: db.prepare('SELECT seq, body FROM events WHERE run_id = ? ORDER BY seq'),
    ofContainer: db.prepare('SELECT 1 FROM events WHERE container_id = ? LIMIT 1'),
    exitOfRun: db.prepare('SELECT run_id, process_id, container_id, exit FROM exits WHERE run_id = ? AND process_id = ?'),
    exitOfContainer: db.prepare('SELECT run_id, process_id, container_id, exit FROM exits WHERE container_id = ? AND process_id = ? ORDER BY time DESC LIMIT 1'),
    exitAfter: db.prepare('SELECT run_id, process_id, container_id, exit FROM exits WHERE container_id = :container AND process_id = :process AND run_id <> :run AND time >= (SELECT time FROM exits WHERE run_id = :run AND process_id = :process) ORDER BY time LIMIT 1'),
    youngFrom: db.prepare('SELECT min(seq) AS seq FROM events WHERE seq BETWEEN ? AND ? AND time >= ?'),
    trim: db.prepare('DELETE FROM events WHERE seq <= ?'),
    trimExits: db.prepare('DELETE FROM exits WHERE gone_at < ?'),
    trimEpochs: db.prepare('DELETE FROM epochs WHERE first < (SELECT max(first) FROM epochs WHERE first <= ?)')
  } satisfies Record<string, StatementSync>
}

let store: Store
let sql: ReturnType<typeof prepare>

async function begin (reason?: string): Promise<Opened> {
  const aside = reason === undefined ? undefined : `${await setAside(path)}: ${reason}`
  try {
    store = await openStore({ path, bootId, checkAtOnce, lane, recover, carry })
    left = undefined
    sql = prepare(store.db)
  } catch (error) {
    if (reason !== undefined || !isDamage(error, true)) throw error
    return await begin((error as Error).message)
  }
  const { epochs, head, first, cut, unchecked } = store
  return { epochs, head, first, cut, unchecked, ...(aside === undefined ? {} : { setAside: aside }) }
}

function transaction (work: () => void, db = store.db): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    work()
    db.exec('COMMIT')
  } catch (error) {
    // Some errors have ended the transaction by themselves.
    try { db.exec('ROLLBACK') } catch {}
    throw error
  }
}

function insert (sql: ReturnType<typeof prepare>, first: number, rows: Append[]): void {
  for (const [index, { time, type, containerId, runId, processId, labels, body, exit }] of rows.entries()) {
    try {
      sql.insert.run(first + index, time, type, containerId, runId, processId, labels, body)
      if (exit !== undefined) sql.insertExit.run(exit.runId, exit.processId, exit.containerId, time, exit.exit)
    } catch (error) {
      if (((error as { errcode?: number }).errcode ?? 0) % 256 === constraint) throw new Refused(index, error as Error)
      throw error
    }
    if (type === 'StateDelete') sql.gone.run(time, containerId, null)
    else if (type === 'StateStart') sql.gone.run(time, containerId, runId)
  }
}

/** What the last daemon told and did not commit goes in, if it goes on where the database ends. */
function recover (db: DatabaseSync, epoch: string | undefined, head: number): number {
  if (left === undefined || left.epoch !== epoch || left.first > head + 1) return head
  return putIn(db, left.rows.slice(head + 1 - left.first), head)
}

/**
 * The database in which it was told was lost before it was there, in the last daemon's time or now: it goes into the new
 * history, before all else, unless the last daemon came to that itself.
 */
function carry (db: DatabaseSync, epochs: Epoch[], head: number): number {
  const last = left?.rows.at(-1)
  if (left === undefined || last === undefined || epochs.some(({ epoch }) => epoch === left?.epoch)) return head
  const there = db.prepare('SELECT 1 FROM events WHERE container_id = ? AND body = ? LIMIT 1').get(last.containerId, last.body)
  return there === undefined ? putIn(db, left.rows.slice(), head) : head
}

function putIn (db: DatabaseSync, rows: Append[], head: number): number {
  for (let written = rows.length === 0; !written;) {
    try {
      transaction(() => insert(prepare(db), head + 1, rows), db)
      written = true
    } catch (error) {
      const refused = error instanceof Refused ? rows[error.row] : undefined
      if (refused === undefined) throw error
      // It was told, so it keeps its place; what the store has already is not touched by it.
      rows[(error as Refused).row] = toldOnly(refused)
    }
  }
  return head + rows.length
}

function append (epoch: string, first: number, rows: Append[]): void {
  if (epoch !== store.epochs.at(-1)?.epoch) throw new Stale('the history has ended')
  const last = first + rows.length - 1
  // A commit whose answer was lost with its thread is not made twice; more may have come behind it since.
  const there = Math.max(0, Math.min(store.head + 1 - first, rows.length))
  const known = there > 0 && (sql.bodyOf.get(first + there - 1) as { body: string } | undefined)?.body === rows[there - 1]?.body ? there : 0
  if (known === rows.length) return
  try {
    transaction(() => insert(sql, first + known, rows.slice(known)))
  } catch (error) {
    if (error instanceof Refused) throw new Refused(error.row + known, error)
    throw error
  }
  store.head = last
}

/** One page: bounded in rows, bytes and the stretch of the sequence that is looked through. */
function read ({ after, until, limit, filter }: Request & { op: 'read' }): StoredPage {
  const { containers, types, labels, reasons } = filter
  const single = containers?.length === 1 ? containers[0] : undefined
  const end = Math.min(until, after + readSpan)
  const common = { until: end, types: types === undefined ? null : JSON.stringify(types) }
  const rows: StoredRow[] = []
  let bytes = 0
  for (let reached = after; reached < end;) {
    const found = (single === undefined
      ? sql.readAll.all({ ...common, after: reached, limit: readRows, containers: containers === undefined ? null : JSON.stringify(containers) })
      : sql.readContainer.all({ ...common, after: reached, limit: readRows, container: single })) as StoredRow[]
    for (const row of found) {
      reached = row.seq
      if (labels !== undefined && !labelsMatch(labels, JSON.parse(row.labels) as Record<string, string>)) continue
      if (reasons !== undefined && !reasons.includes(reasonOf(row.body) ?? '')) continue
      rows.push(row)
      bytes += row.body.length
      if (rows.length >= limit || bytes >= readBytes) return { rows, reached }
    }
    if (found.length < readRows) break
  }
  return { rows, reached: Math.max(end, after) }
}

/** The page as readers are sent it: made here, so that a replay costs the event loop next to nothing. */
function frames ({ rows, reached }: StoredPage, form: Form): StoredBytes {
  const text = rows.map(({ seq, type, container_id: container, labels, body }) => new Entry(epochOf(store, seq), seq, type, container, labels, body, 0).text(form)).join('')
  return { bytes: text === '' ? undefined : new TextEncoder().encode(text), reached }
}

/** The last event before a time, by halving: a clock that was set back makes it only as right as the clock was. */
function seqBefore (time: number): number {
  let [low, high] = [store.first - 1, store.head]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if ((sql.timeOf.get(middle) as { time: number }).time < time) low = middle
    else high = middle - 1
  }
  return low
}

/** Deletes one chunk of what is past the bounds; `more`: there is another. */
function trim (): Trimmed {
  const { first, head, db } = store
  const end = Math.min(head, first + trimChunk - 1)
  const young = (sql.youngFrom.get(first, end, Date.now() - retainDays * day) as { seq: number | null }).seq
  const large = usedBytes(db) > retainBytes ? Math.min(end, head - fewest) : 0
  const until = Math.min(end, Math.max(head - retainEvents, young === null ? end : young - 1, large))
  transaction(() => {
    sql.trimExits.run(Date.now() - exitsKept)
    if (until < first) return
    setMeta(db, 'head', String(head))
    sql.trim.run(until)
    sql.trimEpochs.run(until + 1)
  })
  if (until >= first) db.exec(`PRAGMA incremental_vacuum(${vacuumPages})`)
  store.first = Math.max(first, until + 1)
  return { first: store.first, bytes: usedBytes(db), more: until >= first && until === end && end < head }
}

/** Of a run; throws a SyntaxError, which is damage, when one is none. */
function ofRun (runId: string): RunEvent[] {
  return (sql.ofRun.all(runId) as { seq: number, body: string }[]).map(({ seq, body }) => runEvent(epochOf(store, seq), seq, body))
}

/** An exit as it was stored; throws a SyntaxError, which is damage, when it cannot be that. */
function sound (row: object | undefined): StoredExit | undefined {
  if (row !== undefined) JSON.parse((row as StoredExit).exit)
  return row as StoredExit | undefined
}

async function answer (request: Request): Promise<unknown> {
  switch (request.op) {
    case 'append': return append(request.epoch, request.first, request.rows)
    case 'read': return request.form === undefined ? read(request) : frames(read(request), request.form)
    case 'seqBefore': return seqBefore(request.time)
    case 'ofRun': return ofRun(request.runId)
    case 'knows': return sql.ofContainer.get(request.containerId) !== undefined
    case 'exit': return sound(request.runId === undefined ? sql.exitOfContainer.get(request.containerId, request.processId) : sql.exitOfRun.get(request.runId, request.processId))
    case 'exitAfter': return sound(sql.exitAfter.get({ container: request.containerId, run: request.runId, process: request.processId }))
    case 'trim': return trim()
    case 'collect': return collectGarbage()
    case 'renew':
      store.db.close()
      return await begin(request.reason)
    case 'close':
      transaction(() => {
        setMeta(store.db, 'head', String(store.head))
        setMeta(store.db, 'closed', '1')
      })
      store.db.close()
  }
}

function failure (error: unknown): Failure {
  const { message } = error as Error
  if (error instanceof Refused) return { kind: 'refused', message, row: error.row }
  if (error instanceof Stale) return { kind: 'stale', message }
  return { kind: isDamage(error) ? 'damaged' : 'failed', message }
}

const port = parentPort
if (port === null) throw new Error('the journal runs in a worker thread')

// Appends go first: what is being written is waited for by those whose state it is, pages only by readers who are behind.
const appends: Request[] = []
const others: Request[] = []
let busy = false

async function work (): Promise<void> {
  const request = appends.shift() ?? others.shift()
  if (request === undefined) {
    busy = false
    return
  }
  try {
    const value = await answer(request)
    const bytes = (value as Partial<StoredBytes> | undefined)?.bytes
    port?.postMessage({ id: request.id, value } satisfies Reply, bytes instanceof Uint8Array ? [bytes.buffer] : [])
  } catch (error) {
    port?.postMessage({ id: request.id, failure: failure(error) } satisfies Reply)
    // No store is open now: the thread ends, and the next one begins at the beginning.
    if (request.op === 'renew') throw error
  }
  if (request.op === 'close') port?.close()
  else setImmediate(() => void work())
}

const opened = await begin()

port.on('message', (request: Request) => {
  const queue = request.op === 'append' ? appends : others
  queue.push(request)
  if (busy) return
  busy = true
  void work()
})
port.postMessage({ id: 0, value: opened } satisfies Reply)
