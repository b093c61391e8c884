import type { ExitFacts } from '../runtime/exit.ts'
import type { Process } from '../runtime/process.ts'
import type { TaskContext } from './task.ts'

/** The request that ended a process, for the event that tells of it: a stop, however it ended then, or one that sent the very signal it ended of. */
export function causeOf ({ asked }: Process, facts: ExitFacts, stopping = false): TaskContext {
  if (asked?.requestId === undefined) return {}
  return stopping || (facts.waitStatus !== null && (facts.waitStatus & 0x7f) === asked.signal) ? { requestId: asked.requestId } : {}
}
