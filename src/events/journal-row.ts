import { nowNs } from '../native/index.ts'
import { timestamp } from '../runtime/exit.ts'
import type { EventView, ExitView } from '../schemas/index.ts'
import type { Append, StoredExit } from './journal-protocol.ts'

export type NewEvent = Omit<EventView, 'id' | 'timestamp'>
export type ExitRow = { runId: string, processId: string, containerId: string, exit: ExitView }

/** An event, and the exit it tells, as the store keeps them; `ns`: its time, nanoseconds since 1970. */
export function rowOf (event: NewEvent, exit?: ExitRow, ns = nowNs()): Append {
  const { type, containerId, labels, runId, processId } = event
  return {
    time: Number(ns / 1_000_000n),
    type,
    containerId,
    runId: runId ?? null,
    processId: processId ?? null,
    labels: JSON.stringify(labels),
    body: JSON.stringify({ ...event, timestamp: timestamp(ns) }).slice(1),
    ...(exit === undefined ? {} : { exit: { ...exit, exit: JSON.stringify(exit.exit) } })
  }
}

/** The other way round. */
export function exitRow (row: StoredExit | undefined): ExitRow | undefined {
  return row === undefined ? undefined : { runId: row.run_id, processId: row.process_id, containerId: row.container_id, exit: JSON.parse(row.exit) as ExitView }
}
