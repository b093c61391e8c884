import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'
import { nowNs } from '../native/index.ts'
import type { EventType } from '../schemas/index.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import type { ExitFacts } from '../runtime/exit.ts'
import { exists, removeTree } from '../runtime/files.ts'
import { Process } from '../runtime/process.ts'
import { shimState } from '../runtime/shim-protocol.ts'
import { abandon, tellStarted } from './exec.ts'
import { execExitSeen, watchExec } from './exec-exit.ts'
import { readExitRecord } from './exit-record.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/** seconds that a call of the runtime, ended, has to be told of */
const abortLimit = 10

/** Reads the records of what was executed beside init, and moves them up to what the journal has told. */
export async function loadExecs (supervisor: Supervisor, container: Container, run: RunRecord, events: { type: EventType, processId?: string }[]): Promise<void> {
  const directory = join(container.outDir, 'processes')
  // A question that has no error for an answer: most have none, and with a thousand containers each error is felt.
  if (!await exists(directory)) return
  const names = await readdir(directory)
  const found: Process[] = []
  for (const name of names) {
    const process = await load(supervisor, container, join(directory, name), name)
    if (process === undefined) continue
    const told = new Set(events.filter(({ processId }) => processId === name).map(({ type }) => type))
    if (process.status === 'created' && told.has('StateStartProcess')) process.status = 'running'
    if (told.has('StateExit') && process.exit === null) {
      const row = await supervisor.options.journal.exitOf({ containerId: container.id, runId: run.runId, processId: name })
      process.exit = row?.exit ?? null
      process.status = 'stopped'
      process.settle()
    }
    found.push(process)
  }
  const began = ({ startedAt }: Process): string => startedAt ?? ''
  found.sort((one, other) => (began(one) < began(other) ? -1 : began(one) > began(other) ? 1 : 0))
  for (const process of found) (process.status === 'created' ? container.starting : container.processes).set(process.id, process)
}

/** Undefined for a directory without a record, which is written before anything is started: nothing of it can run. One that cannot be read is left as it is. */
async function load (supervisor: Supervisor, container: Container, path: string, name: string): Promise<Process | undefined> {
  try {
    const process = Process.parse(await readFile(join(path, 'process.json'), 'utf8'), path)
    if (process.id !== name) throw new Error(`process.json is that of ${process.id}`)
    return process
  } catch (error) {
    if (hasCode(error, 'ENOENT')) await removeTree(path)
    else supervisor.log.error({ err: error, container: container.id, path }, 'the record of a process could not be read; it is left as it is')
    return undefined
  }
}

/** Compares what was executed beside init with what the shim says, or wrote down; what was missed meanwhile is told. */
export async function restoreExecs (supervisor: Supervisor, task: Task<unknown>, container: Container, reason: 'monitor-lost' | 'host-rebooted'): Promise<void> {
  for (const process of container.processes.values()) {
    if (process.isInit || process.exit === null) continue
    // Told by a daemon that ended before the shim heard so: its place is free again.
    process.handle = container.shim?.processes.find(process.id)
    if (process.handle !== undefined) container.shim?.processes.acknowledge(process.handle)
  }
  await endUnclaimed(container)
  const open = [...container.starting.values(), ...container.processes.values()].filter((process) => !process.isInit && process.exit === null)
  await Promise.all(open.map(async (process) => {
    process.handle = container.shim?.processes.find(process.id)
    if (process.status === 'created' && !await finishStart(supervisor, task, container, process)) {
      container.starting.delete(process.id)
      await process.forget().finally(() => process.settle())
      return
    }
    if (process.handle !== undefined) {
      if (process.handle.pid > 0) process.pid = process.handle.pid
      watchExec(supervisor, container, process)
      return
    }
    const facts: ExitFacts = await recordOf(process) ?? { waitStatus: null, exitedAtNs: nowNs(), oomKills: null, outputComplete: false, reason }
    execExitSeen(supervisor, container, process, facts)
  }))
}

/** What the shim has and no record knows: given up by the daemon before this one, which ended before the shim had done so too. */
async function endUnclaimed (container: Container): Promise<void> {
  const { shim } = container
  if (shim === undefined) return
  for (const handle of shim.processes.all()) {
    if (container.starting.has(handle.id) || container.processes.has(handle.id)) continue
    // A record that cannot be read is one all the same: what it speaks of is left alone.
    if (!await exists(container.processDir(handle.id))) abandon(shim, { handle })
  }
}

async function recordOf (process: Process): Promise<ExitFacts | undefined> {
  return process.directory === undefined ? undefined : await readExitRecord(process.directory, process.id)
}

/**
 * The earlier daemon ended while it was being started. Whoever asked for it was not answered: what has not come to run is
 * given up, what has run is told. False for the former.
 */
async function finishStart (supervisor: Supervisor, task: Task<unknown>, container: Container, process: Process): Promise<boolean> {
  const { handle } = process
  const { shim } = container
  if (handle === undefined || shim === undefined) {
    if (await recordOf(process) === undefined) return false
    await tellStarted(supervisor, task, container, process)
    return true
  }
  if (handle.state === shimState.creating) {
    shim.processes.abort(handle)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => { timer = setTimeout(() => resolve('late'), abortLimit * 1000) })
    const result = await Promise.race([handle.result.catch(() => undefined), late])
    clearTimeout(timer)
    if (result === 'late') abandon(shim, process)
    if (result === 'late' || result === undefined || result.pid === 0) return false
  }
  process.pid = handle.pid
  await tellStarted(supervisor, task, container, process)
  return true
}
