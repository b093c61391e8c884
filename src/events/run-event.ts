import type { EventType } from '../schemas/index.ts'

/** What is asked of the events of a run. */
export type RunEvent = { id: string, type: EventType, timestamp: string, processId?: string, pid?: number, oomKills?: number }

/** `body`: as it is stored. Throws a SyntaxError when it is no JSON. */
export function runEvent (epoch: string, seq: number, body: string): RunEvent {
  const { type, timestamp, processId, pid, oomKills } = JSON.parse(`{${body}`) as RunEvent
  return { id: `${epoch}:${seq}`, type, timestamp, ...(processId === undefined ? {} : { processId }), ...(pid === undefined ? {} : { pid }), ...(oomKills === undefined ? {} : { oomKills }) }
}
