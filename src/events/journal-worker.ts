/**
 * The journal's own thread: it alone touches the database, so that no disk ever holds up the event loop.
 *
 * Schema, version 1 (PRAGMA user_version; a change of it comes with a migration and a higher number):
 *
 *   meta    (key PRIMARY KEY, value)            epoch
 *   events  (seq PRIMARY KEY, time, type, container_id, run_id, process_id, labels, body)
 *           time: milliseconds since 1970; labels: JSON; body: the event as JSON without its id, from behind the brace
 *   exits   (run_id, process_id, container_id, time, exit)   one for each run and process, for ever refused a second time
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { chmodSync, closeSync, openSync, renameSync, existsSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import type { Append, Reply, Request, WorkerData } from './journal-protocol.ts'

const { path, bootId, retainEvents, retainDays } = workerData as WorkerData
const schemaVersion = 1
const exitsKeptMs = 7 * 24 * 3600 * 1000
const trimChunk = 2000

function open (): DatabaseSync {
  // The file first, so that it and what SQLite lays beside it are for the owner only.
  closeSync(openSync(path, 'a', 0o600))
  const made = new DatabaseSync(path)
  made.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000')
  const version = (made.prepare('PRAGMA user_version').get() as { user_version: number }).user_version
  if (version > schemaVersion) throw new Error(`the journal is of version ${version}; this daemon knows up to ${schemaVersion}`)
  made.exec(`
    BEGIN;
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, type TEXT NOT NULL, container_id TEXT NOT NULL,
      run_id TEXT, process_id TEXT, labels TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS events_by_container ON events (container_id, seq);
    CREATE INDEX IF NOT EXISTS events_by_run ON events (run_id);
    CREATE UNIQUE INDEX IF NOT EXISTS events_once ON events (run_id, process_id, type) WHERE type IN ('StateStart', 'StateExit', 'StateStartFailed');
    CREATE TABLE IF NOT EXISTS exits (run_id TEXT NOT NULL, process_id TEXT NOT NULL, container_id TEXT NOT NULL, time INTEGER NOT NULL, exit TEXT NOT NULL,
      PRIMARY KEY (run_id, process_id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS exits_by_container ON exits (container_id, time);
    PRAGMA user_version = ${schemaVersion};
    COMMIT`)
  const check = made.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
  if (check.quick_check !== 'ok') throw new Error(`the journal is damaged: ${check.quick_check}`)
  return made
}

let setAside: string | undefined

/** A journal that cannot be read is kept whole under another name, and a new one begins: the daemon must start. */
function openOrSetAside (): DatabaseSync {
  try {
    return open()
  } catch (error) {
    if (!existsSync(path) || /version|ENOSPC|EROFS|EACCES|full|locked/i.test((error as Error).message)) throw error
    const aside = `${path}.damaged-${Date.now()}`
    for (const suffix of ['', '-wal', '-shm']) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix)
    setAside = `${aside}: ${(error as Error).message}`
    return open()
  }
}

const db = openOrSetAside()
for (const suffix of ['', '-wal', '-shm']) if (existsSync(path + suffix)) chmodSync(path + suffix, 0o600)

function meta (key: string): string | undefined {
  return (db.prepare('SELECT value FROM meta WHERE key = ?').get(key) as { value: string } | undefined)?.value
}

function setMeta (key: string, value: string): void {
  db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(key, value)
}

/** After a power cut the last unsynced events may be gone, and their numbers must not come back for others: another epoch. */
function epoch (): string {
  const known = meta('epoch')
  const clean = meta('bootId') === bootId || meta('closed') === '1'
  const now = known !== undefined && clean ? known : randomBytes(4).toString('hex')
  setMeta('epoch', now)
  setMeta('bootId', bootId)
  setMeta('closed', '0')
  return now
}

const currentEpoch = epoch()

const sql = {
  insert: db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
  insertExit: db.prepare('INSERT INTO exits VALUES (?, ?, ?, ?, ?)'),
  bounds: db.prepare('SELECT min(seq) AS first, max(seq) AS head FROM events'),
  after: db.prepare('SELECT seq, type, container_id, labels, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?'),
  afterOf: db.prepare('SELECT seq, type, container_id, labels, body FROM events WHERE container_id = ? AND seq > ? ORDER BY seq LIMIT ?'),
  byTime: db.prepare('SELECT max(seq) AS seq FROM events WHERE time < ?'),
  ofRun: db.prepare('SELECT type, process_id FROM events WHERE run_id = ?'),
  ofContainer: db.prepare('SELECT 1 FROM events WHERE container_id = ? LIMIT 1'),
  exitOfRun: db.prepare('SELECT * FROM exits WHERE run_id = ? AND process_id = ?'),
  exitOfContainer: db.prepare('SELECT * FROM exits WHERE container_id = ? AND process_id = ? ORDER BY time DESC LIMIT 1'),
  trimCount: db.prepare('DELETE FROM events WHERE seq <= ?'),
  trimExits: db.prepare('DELETE FROM exits WHERE time < ?')
} satisfies Record<string, StatementSync>

const found = sql.bounds.get() as { first: number | null, head: number | null }
let head = Number(meta('head') ?? 0)
if (found.head !== null && found.head > head) head = found.head
let first = found.first ?? head + 1

function append (rows: Append[]): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    for (const { seq, time, type, containerId, runId, processId, labels, body, exit } of rows) {
      sql.insert.run(seq, time, type, containerId, runId, processId, labels, body)
      if (exit !== undefined) sql.insertExit.run(exit.runId, exit.processId, exit.containerId, time, exit.exit)
    }
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
  head = rows.at(-1)?.seq ?? head
}

/** Deletes one chunk of what is past the bounds; true when there is more to do. */
function trim (): boolean {
  const byAge = (sql.byTime.get(Date.now() - retainDays * 24 * 3600 * 1000) as { seq: number | null }).seq ?? 0
  const upTo = Math.max(head - retainEvents, byAge)
  const until = Math.min(upTo, first + trimChunk - 1)
  if (until >= first) {
    // The head must be known even when no event is left, or its number would be given again.
    setMeta('head', String(head))
    sql.trimCount.run(until)
    first = until + 1
  }
  sql.trimExits.run(Date.now() - Math.max(exitsKeptMs, retainDays * 24 * 3600 * 1000))
  return until < upTo
}

function answer (request: Request): unknown {
  switch (request.op) {
    case 'append':
      append(request.rows)
      return null
    case 'read': {
      const { after, limit, containerId } = request
      return containerId === undefined ? sql.after.all(after, limit) : sql.afterOf.all(containerId, after, limit)
    }
    case 'seqBefore':
      return (sql.byTime.get(request.time) as { seq: number | null }).seq ?? first - 1
    case 'ofRun':
      return sql.ofRun.all(request.runId)
    case 'knows':
      return sql.ofContainer.get(request.containerId) !== undefined
    case 'exit':
      return (request.runId === undefined ? sql.exitOfContainer.get(request.containerId, request.processId) : sql.exitOfRun.get(request.runId, request.processId)) ?? null
    case 'trim': {
      const more = trim()
      return { first, more }
    }
    case 'close':
      setMeta('closed', '1')
      setMeta('head', String(head))
      db.close()
      return null
  }
}

const port = parentPort
if (port === null) throw new Error('the journal runs in a worker thread')
port.on('message', (request: Request) => {
  let reply: Reply
  try {
    reply = { id: request.id, value: answer(request) }
  } catch (error) {
    const { message, errcode } = error as Error & { errcode?: number }
    reply = { id: request.id, error: message, ...(errcode === undefined ? {} : { errcode }) }
  }
  port.postMessage(reply)
  if (request.op === 'close') port.close()
})
port.postMessage({ id: 0, value: { epoch: currentEpoch, head, first, setAside } } satisfies Reply)
