import { join } from 'node:path'
import type { Container } from './container.ts'
import { exists } from './files.ts'
import type { LogSource } from './log-stream.ts'
import type { Shim } from './shim.ts'

/** A process in the hands of a shim that is there. */
export type Held = { shim: Shim, slot: number }

/** Where the output of a process is; that of init lies in the directory of its run. */
export function logDirectory (container: Container, runId: string, processId: string): string {
  const run = join(container.root, runId)
  return processId === 'init' ? run : join(run, 'processes', processId)
}

/** The shim that has a process of a run, and its slot there; undefined when none has it any more. */
export function heldBy (container: Container, runId: string, processId: string): Held | undefined {
  const { shim, run } = container
  if (shim === undefined || shim.gone || run?.runId !== runId) return undefined
  const slot = container.processes.get(processId)?.slot
  return slot === undefined ? undefined : { shim, slot }
}

/** The log of a process of a run; undefined when nothing is kept of it. One that a shim has can be followed. */
export async function findLog (container: Container, runId: string, processId: string): Promise<LogSource | undefined> {
  const directory = logDirectory(container, runId, processId)
  const held = heldBy(container, runId, processId)
  if (held !== undefined) return { directory, follow: async (offset, signal) => await held.shim.follow(held.slot, offset, signal) }
  return await exists(directory) ? { directory } : undefined
}
