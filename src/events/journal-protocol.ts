/** What the journal and its thread say to each other. */
export type WorkerData = { path: string, bootId: string, retainEvents: number, retainDays: number }

export type Append = {
  seq: number
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
  | { op: 'append', rows: Append[] }
  | { op: 'read', after: number, limit: number, containerId?: string }
  | { op: 'seqBefore', time: number }
  | { op: 'ofRun', runId: string }
  | { op: 'knows', containerId: string }
  | { op: 'exit', containerId: string, runId?: string, processId: string }
  | { op: 'trim' }
  | { op: 'close' }
)

export type Reply = { id: number, value?: unknown, error?: string, errcode?: number }

export type Opened = { epoch: string, head: number, first: number, setAside: string | undefined }

export type StoredRow = { seq: number, type: string, container_id: string, labels: string, body: string }
export type ExitRowStored = { run_id: string, process_id: string, container_id: string, exit: string }
