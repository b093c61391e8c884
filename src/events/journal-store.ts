/**
 * Opens the journal's database. Runs in the journal's thread.
 *
 * Schema, version 1 (PRAGMA user_version; a change of it comes with a migration and a higher number):
 *
 *   meta    (key, value)       bootId  the boot in which it was last opened
 *                              lane    the name of the lane (lane.ts) that events were told from, '' for none
 *                              closed  1 after an orderly end, 0 while it is open
 *                              head    the highest sequence number, for when retention has left no event
 *   epochs  (epoch, first)     each history and its first sequence number; the last one goes on
 *   events  (seq, time, type, container_id, run_id, process_id, labels, body)
 *                              time    milliseconds since 1970
 *                              labels  JSON
 *                              body    the event as JSON without its id, from behind the brace
 *   exits   (run_id, process_id, container_id, time, exit, gone_at)
 *                              one for a run's process, never a second; exit: JSON;
 *                              gone_at: when the container was removed, or started again
 */
import { chmod, open, rename } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { hasCode } from '../errors.ts'
import { exists } from '../runtime/exists.ts'
import type { Epoch, WorkerData } from './journal-protocol.ts'

const schemaVersion = 1
const beside = ['', '-wal', '-shm']

export type Store = { db: DatabaseSync, epochs: Epoch[], head: number, first: number, cut: boolean, unchecked: boolean }

/** The file is not a sound journal. */
class Damage extends Error {}

/** A journal of a later version: nothing is wrong with it, so it is not put aside. */
class TooNew extends Error {}

/** SQLite's CORRUPT and NOTADB. A full or unreadable disk is something else. */
const damageCodes = new Set([11, 26])
/** SQLite's ERROR: at opening it means tables that are not ours; later it would be a mistake of this program's own. */
const foreignTables = 1

export function isDamage (error: unknown, opening = false): boolean {
  if (error instanceof TooNew) return false
  const { errcode } = error as { errcode?: number }
  // What was stored as JSON and is none any more was written by nobody.
  return error instanceof Damage || error instanceof SyntaxError || hasCode(error, 'EISDIR') ||
    (errcode !== undefined && (damageCodes.has(errcode & 0xff) || (opening && errcode === foreignTables)))
}

type StoreOptions = Pick<WorkerData, 'path' | 'bootId' | 'checkAtOnce' | 'lane'> & {
  /** puts in what was told in the history that is found, and is not there yet; returns the new head */
  recover: (db: DatabaseSync, epoch: string | undefined, head: number) => number
  /** the same for what was told in one that has been lost */
  carry: (db: DatabaseSync, epochs: Epoch[], head: number) => number
}

/** Throws what isDamage() can tell from a passing trouble. Files above `checkAtOnce` bytes are not checked page by page. */
export async function openStore ({ path, bootId, checkAtOnce, lane, recover, carry }: StoreOptions): Promise<Store> {
  // The file first, so that it and what SQLite lays beside it (which takes its mode) are for the owner only.
  const file = await open(path, 'a', 0o600)
  const { size } = await file.stat()
  await file.close()
  for (const suffix of beside) await chmod(path + suffix, 0o600).catch((error: unknown) => { if (!hasCode(error, 'ENOENT')) throw error })
  const db = new DatabaseSync(path)
  try {
    // Of a new file only: space that old events took can be given back.
    if (size === 0) db.exec('PRAGMA auto_vacuum = INCREMENTAL')
    db.exec('PRAGMA busy_timeout = 200; PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 67108864')
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version > schemaVersion) throw new TooNew(`the journal is of version ${version}; this daemon knows up to ${schemaVersion}`)
    // Before anything is written: what is set aside is set aside as it was.
    const unchecked = size > checkAtOnce
    if (!unchecked) checkPages(db)
    // What comes now must be on disk before any event: without it a power cut could take away that the journal was open.
    db.exec('PRAGMA synchronous = FULL')
    if (version < schemaVersion) makeTables(db)
    const bounds = db.prepare('SELECT min(seq) AS first, max(seq) AS head FROM events').get() as { first: number | null, head: number | null }
    const before = Math.max(Number(getMeta(db, 'head') ?? 0), bounds.head ?? 0)
    const recovered = recover(db, epochsOf(db).at(-1)?.epoch, before)
    const { epochs, cut } = beginEpoch(db, bootId, lane, recovered)
    const head = carry(db, epochs, recovered)
    db.exec('PRAGMA synchronous = NORMAL')
    return { db, epochs, head, first: bounds.first ?? before + 1, cut, unchecked }
  } catch (error) {
    db.close()
    throw error
  }
}

function makeTables (db: DatabaseSync): void {
  db.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS epochs (epoch TEXT PRIMARY KEY, first INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, type TEXT NOT NULL, container_id TEXT NOT NULL,
      run_id TEXT, process_id TEXT, labels TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS events_by_container ON events (container_id, seq);
    CREATE INDEX IF NOT EXISTS events_by_run ON events (run_id);
    CREATE UNIQUE INDEX IF NOT EXISTS events_once_for_a_process ON events (run_id, process_id, type) WHERE type IN ('StateStart', 'StateStartFailed', 'StateExit');
    CREATE UNIQUE INDEX IF NOT EXISTS events_once_for_a_run ON events (run_id, type) WHERE type IN ('StateCreate', 'StateDelete');
    CREATE TABLE IF NOT EXISTS exits (run_id TEXT NOT NULL, process_id TEXT NOT NULL, container_id TEXT NOT NULL, time INTEGER NOT NULL,
      exit TEXT NOT NULL, gone_at INTEGER, PRIMARY KEY (run_id, process_id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS exits_by_container ON exits (container_id, time);
    CREATE INDEX IF NOT EXISTS exits_gone ON exits (gone_at) WHERE gone_at IS NOT NULL;
    PRAGMA user_version = ${schemaVersion};
    COMMIT`)
}

/** Reads every page; about a second for a million events. Throws when one is not sound. */
export function checkPages (db: DatabaseSync): void {
  const { quick_check: found } = db.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
  if (found !== 'ok') throw new Damage(found)
}

/**
 * After a power cut the last events, which readers have seen, may be gone, and their numbers must not come back for
 * others: a new history begins. The daemon's own death loses nothing, since the kernel has what it wrote, but for a lane
 * that has gone since: what was told from it may have gone with it.
 */
function beginEpoch (db: DatabaseSync, bootId: string, lane: string, head: number): { epochs: Epoch[], cut: boolean } {
  const known = epochsOf(db)
  const cut = known.length > 0 && getMeta(db, 'closed') !== '1' &&
    (getMeta(db, 'bootId') !== bootId || !['', lane].includes(getMeta(db, 'lane') ?? ''))
  db.exec('BEGIN IMMEDIATE')
  if (known.length === 0 || cut) {
    db.prepare('DELETE FROM epochs WHERE first > ?').run(head)
    db.prepare('INSERT INTO epochs VALUES (?, ?)').run(randomBytes(4).toString('hex'), head + 1)
  }
  setMeta(db, 'bootId', bootId)
  setMeta(db, 'lane', lane)
  setMeta(db, 'closed', '0')
  db.exec('COMMIT')
  return { epochs: epochsOf(db), cut }
}

function epochsOf (db: DatabaseSync): Epoch[] {
  return (db.prepare('SELECT epoch, first FROM epochs ORDER BY first').all() as Epoch[]).map(({ epoch, first }) => ({ epoch, first }))
}

function getMeta (db: DatabaseSync, key: string): string | undefined {
  return (db.prepare('SELECT value FROM meta WHERE key = ?').get(key) as { value: string } | undefined)?.value
}

export function setMeta (db: DatabaseSync, key: string, value: string): void {
  db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(key, value)
}

/** Bytes of the file that are in use; what is free in it is taken first. */
export function usedBytes (db: DatabaseSync): number {
  const value = (name: string): number => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() as object)[0])
  return (value('page_count') - value('freelist_count')) * value('page_size')
}

/** Keeps a journal that cannot be used, whole, under another name, which it returns. */
export async function setAside (path: string): Promise<string> {
  const base = `${path}.damaged-${new Date().toISOString().replaceAll(':', '')}`
  let aside = base
  for (let n = 2; await exists(aside); n++) aside = `${base}-${n}`
  for (const suffix of beside) await rename(path + suffix, aside + suffix).catch((error: unknown) => { if (!hasCode(error, 'ENOENT')) throw error })
  return aside
}
