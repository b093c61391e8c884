import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ExitFacts } from '../runtime/exit.ts'

/** The exit that a shim wrote down (`<process>.exit`); undefined when there is none that is whole. */
export async function readExitRecord (directory: string, processId: string): Promise<ExitFacts | undefined> {
  try {
    const record = JSON.parse(await readFile(join(directory, `${processId}.exit`), 'utf8')) as { waitStatus: number, exitedAtNs: string, oomKills: number | null, outputComplete: boolean, started: boolean }
    if (!Number.isInteger(record.waitStatus)) return undefined
    return { waitStatus: record.waitStatus, exitedAtNs: BigInt(record.exitedAtNs), oomKills: record.oomKills, outputComplete: record.outputComplete, started: record.started }
  } catch {
    return undefined
  }
}
