import { join } from 'node:path'
import type { Container } from './container.ts'
import { exists } from './files.ts'
import type { LogSource } from './log-stream.ts'

/** Where the output of a process is; that of init lies in the directory of its run. */
export function logDirectory (container: Container, runId: string, processId: string): string {
  const run = join(container.root, runId)
  return processId === 'init' ? run : join(run, 'processes', processId)
}

/** The log of a process of a run; undefined when nothing is kept of it. One whose shim is there can be followed. */
export async function findLog (container: Container, runId: string, processId: string): Promise<LogSource | undefined> {
  const directory = logDirectory(container, runId, processId)
  return await exists(directory) ? { directory } : undefined
}
