import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'
import { Container, recordVersion } from '../runtime/container.ts'
import { findRuntime } from '../runtime/oci.ts'
import { Shim } from '../runtime/shim.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'
import { tearDown } from './teardown.ts'

/** A run that left something behind, and that no record knows: a shim, a run directory, or a container that the runtime knows. */
export type Orphan = { id: string, runId: string }

const runtimeName = /^(.+)\.([0-9a-f]{20})$/
/** for a run whose directory alone is left */
const nobody = 'unknown'

/**
 * What is there of longshore's own and belongs to no record. Whatever may belong to a record that could not be read is
 * left alone: it may still run. `known`: run ids that are somebody's.
 */
export async function findOrphans (supervisor: Supervisor, known: ReadonlySet<string>): Promise<Orphan[]> {
  const { state } = supervisor.options.directories
  const ids = new Map((await names(join(state, 'runtime'))).flatMap((name) => {
    const [, id, runId] = runtimeName.exec(name) ?? []
    return id === undefined || runId === undefined ? [] : [[runId, id] as const]
  }))
  const { quarantined: unreadable } = supervisor
  const orphans: Orphan[] = []
  for (const runId of new Set([...ids.keys(), ...await names(join(state, 'runs'))])) {
    if (known.has(runId)) continue
    const id = ids.get(runId)
    if (id === undefined ? unreadable.size > 0 : unreadable.has(id)) {
      supervisor.log.warn({ runId, container: id }, 'a run without a record is left alone: it may belong to a container that could not be read')
      continue
    }
    orphans.push({ id: id ?? nobody, runId })
  }
  return orphans
}

async function names (directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}

/** Ends orphans, each as the run of a container would be torn down. What cannot be ended is logged, and tried again at the next start. */
export async function endOrphans (supervisor: Supervisor, orphans: Orphan[]): Promise<void> {
  await Promise.all(orphans.map(async (orphan) => {
    supervisor.repaired('orphan', orphan, 'a run that no record knows is ended')
    await supervisor.send(new EndOrphanTask(orphan)).catch((error: unknown) => {
      supervisor.log.error({ err: error, ...orphan }, 'a run that no record knows could not be ended')
    })
  }))
}

class EndOrphanTask extends Task<void> {
  readonly kind = 'delete'
  override readonly lane = 'free'
  override readonly internal = true
  readonly #orphan: Orphan

  constructor (orphan: Orphan) {
    super(orphan.id)
    this.#orphan = orphan
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const { id, runId } = this.#orphan
    const { directories, runtime, runtimeArgs, startTimeout, bootId, watch } = supervisor.options
    const container = new Container({
      version: recordVersion,
      id,
      bundle: '/',
      runtime,
      runtimeArgs,
      noPivotRoot: false,
      labels: {},
      process: null,
      autoRemove: true,
      stopSignal: 15,
      stopTimeout: 0,
      createdAt: '',
      lastEventId: null,
      run: {
        runId,
        phase: 'creating',
        bootId,
        runtimePath: await findRuntime(runtime),
        process: { args: [] },
        pid: null,
        cgroup: null,
        startedAt: null,
        exit: null,
        tornDown: false
      }
    }, directories, startTimeout)
    container.shim = await Shim.connect(watch, container.runDir)
    await tearDown(supervisor, this, container)
  }
}
