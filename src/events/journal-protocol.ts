import type { Form } from './entry.ts'
import type { FilterQuery } from './filter.ts'

/** What the journal and its thread say to each other. */
export type WorkerData = {
  path: string
  bootId: string
  retainEvents: number
  /** days */
  retainDays: number
  /** of the database file */
  retainBytes: number
  /** bytes: a larger file is not checked for damage before it is used, but beside it */
  checkAtOnce: number
  /** the lane's name, '' for none, and what an earlier daemon left in it */
  lane: string
  left?: LaneRows
}

/** Events that were told, and may not be in the database yet. */
export type LaneRows = { epoch: string, first: number, rows: Append[] }

/** A history and the sequence number of its first event. */
export type Epoch = { epoch: string, first: number }

export type Append = {
  /** milliseconds since 1970 */
  time: number
  type: string
  containerId: string
  runId: string | null
  processId: string | null
  labels: string
  body: string
  exit?: { runId: string, processId: string, containerId: string, exit: string }
}

export type Request = { id: number } & (
  | { op: 'append', epoch: string, first: number, rows: Append[] }
  | { op: 'read', after: number, until: number, limit: number, filter: FilterQuery, form?: Form }
  | { op: 'seqBefore', time: number }
  | { op: 'ofRun', runId: string }
  | { op: 'knows', containerId: string }
  | { op: 'exit', containerId: string, runId?: string, processId: string }
  | { op: 'exitAfter', containerId: string, runId: string, processId: string }
  | { op: 'trim' }
  | { op: 'collect' }
  | { op: 'renew', reason: string }
  | { op: 'close' }
)

/**
 * Why a request failed: `refused`, a row of an append is there already (`row` tells which); `damaged`, the file is not
 * a sound journal; `stale`, an append was numbered for a history that has ended; `failed`, anything else, which may pass.
 */
export type Failure = { kind: 'refused' | 'damaged' | 'stale' | 'failed', message: string, row?: number }

export type Reply = { id: number, value?: unknown, failure?: Failure }

export type Opened = {
  /** oldest first; the last one is the current one */
  epochs: Epoch[]
  head: number
  first: number
  /** where a damaged file was put, and what was wrong with it */
  setAside?: string
  /** the last events before an unclean end may be missing, so that a new history began */
  cut: boolean
  /** the file was too large to be checked at once */
  unchecked: boolean
}

/** `bytes`: of the database file that are in use. */
export type Trimmed = { first: number, bytes: number, more: boolean }

export type StoredRow = { seq: number, type: string, container_id: string, labels: string, body: string }
export type StoredPage = { rows: StoredRow[], reached: number }
/** the same as it is sent to readers */
export type StoredBytes = { bytes: Uint8Array<ArrayBuffer> | undefined, reached: number }
export type StoredExit = { run_id: string, process_id: string, container_id: string, exit: string }
