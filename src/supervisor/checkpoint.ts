import { join } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { CheckpointRequest, CheckpointView } from '../schemas/index.ts'
import { Checkpoints, checkpointView, type CheckpointRecord } from '../runtime/checkpoints.ts'
import { criuWords } from '../runtime/criu.ts'
import { thaw } from '../runtime/cgroup.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import { readIfThere } from '../runtime/files.ts'
import { mentioned } from '../runtime/mentioned.ts'
import { nowNs } from '../native/index.ts'
import { timestamp } from '../runtime/exit.ts'
import { freezerOf } from './pause.ts'
import { checkpointFlags, checkpointOf } from './restoration.ts'
import { standDown } from './restart.ts'
import { callRuntime } from './runtime-call.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** of one container */
export const checkpointsAtMost = 16

/** Writes the processes of a running container to disk, from where they can go on; with `exit` they end here. */
export class CheckpointTask extends Task<CheckpointView> {
  readonly kind = 'checkpoint'
  override readonly mutates = true
  readonly #request: CheckpointRequest

  /** `timeout`: seconds that the runtime may take */
  constructor (input: { containerId: string, request: CheckpointRequest, timeout: number }, context?: TaskContext) {
    super(input.containerId, context)
    this.#request = input.request
    this.timeout = input.timeout + 10
  }

  async execute (supervisor: Supervisor): Promise<CheckpointView> {
    const container = supervisor.find(this.containerId ?? '')
    const { name, exit = false, tcp = false, unixSockets = false, shell = false, emptyNS = [] } = this.#request
    container.mayMove('checkpoint')
    const { init, run } = container
    if (run === null || init === undefined) throw new Error('what runs has a run')
    const store = new Checkpoints(container.root)
    const names = await store.names()
    if (names.includes(name)) throw new LongshoreError('checkpoint_exists', `container ${container.id} has a checkpoint ${name} already`)
    if (names.length >= checkpointsAtMost) throw new LongshoreError('too_many_checkpoints', `container ${container.id} has ${names.length} checkpoints, which is the limit: delete one first`)
    if (exit && container.autoRemove) throw new LongshoreError('invalid_state', `container ${container.id} is removed when it ends, and its checkpoints with it: make this one without exit`)
    await supervisor.criu.require(run.runtimePath)
    const draft: CheckpointRecord = { name, containerId: container.id, runId: run.runId, createdAt: timestamp(nowNs()), size: 0, exit, tcp, unixSockets, shell, emptyNS, process: container.processOverride ?? null, told: false }
    const restart = { ...container.lifecycle.restart }
    let record: CheckpointRecord
    let dumped = false
    // The process of a check is not part of init's tree, so CRIU would refuse.
    const release = await supervisor.checks.hold(container.id)
    try {
      // Who asks it to end does not want it started again.
      if (exit) await standDown(supervisor, container)
      const { images, work } = await store.begin(draft)
      failpoint('checkpoint.begun')
      await callRuntime(supervisor, this, container, ['checkpoint', '--image-path', images, '--work-path', work, ...(exit ? [] : ['--leave-running']), ...checkpointFlags(draft)])
      dumped = true
      failpoint('checkpoint.dumped')
      this.step = 'writing the checkpoint to disk'
      record = await store.finish(draft)
    } catch (error) {
      const words = criuWords(await readIfThere(join(store.draft(name).work, 'dump.log')).catch(() => undefined) ?? '')
      // Where CRIU has ended the processes these images are all that is left of them: the next daemon finds and keeps them.
      if (!exit || !dumped) await store.discard(name)
      await goOn(run)
      if (exit && !dumped && container.status === 'running') {
        Object.assign(container.lifecycle.restart, restart)
        supervisor.save(container)
      }
      throw failure(error, words)
    } finally {
      release()
    }
    failpoint('checkpoint.kept')
    await tell(supervisor, this, container, store, record)
    return checkpointView(record)
  }
}

/** Removes a checkpoint. */
export class DeleteCheckpointTask extends Task<void> {
  readonly kind = 'checkpoint'
  override readonly mutates = true
  readonly #name: string

  constructor (input: { containerId: string, name: string }, context?: TaskContext) {
    super(input.containerId, context)
    this.#name = input.name
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.find(this.containerId ?? '')
    const store = new Checkpoints(container.root)
    if (!(await store.names()).includes(this.#name)) throw new LongshoreError('checkpoint_not_found', `container ${container.id} has no checkpoint ${this.#name}`)
    await store.remove(this.#name)
  }
}

async function tell (supervisor: Supervisor, task: Task<unknown>, container: Container, store: Checkpoints, record: CheckpointRecord): Promise<void> {
  task.step = 'writing the journal'
  await supervisor.publish(container, 'StateCheckpoint', { task, ...(container.init === undefined ? {} : { process: container.init }), more: { checkpoint: checkpointOf(record) } })
  failpoint('checkpoint.told')
  await store.markTold(record)
  supervisor.saveSoon(container)
}

/** CRIU freezes what it dumps, and one that was cut off may have left it so. */
async function goOn (run: RunRecord): Promise<void> {
  const group = freezerOf(run)
  if (group !== undefined && run.paused !== true) await thaw(group)
}

function failure (error: unknown, words: string | undefined): unknown {
  if (!(error instanceof LongshoreError) || (error.code !== 'runtime_failed' && error.code !== 'runtime_crashed')) return error
  return new LongshoreError('checkpoint_failed', `${error.message}${words === undefined ? '' : `; CRIU said: ${words}`}`, { cause: error, extra: { ...error.extra, ...(words === undefined ? {} : { runtime: words }) } })
}

/** milliseconds between looks at a runtime that an earlier daemon left at work */
const lookMs = 100

/**
 * What an earlier daemon did not bring to its end: a checkpoint that is whole is kept and told, once; of any other nothing
 * stays. One with `exit` has ended its container: its images must not be lost with the daemon.
 */
export async function takeUpCheckpoints (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const store = new Checkpoints(container.root)
  if (!await store.any()) return
  await store.sweep()
  for (const name of await store.drafts()) {
    const { path, work } = store.draft(name)
    task.step = 'waiting for a checkpoint that is under way'
    const deadline = Date.now() + container.timeout * 1000
    while (await mentioned(path) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, lookMs))
    const record = await store.readDraft(name)
    const log = await readIfThere(join(work, 'dump.log')).catch(() => undefined)
    // CRIU's last words of a dump that succeeded; the size is only known of one that was about to get its name.
    if (record !== undefined && (record.size > 0 || log?.includes('Dumping finished successfully') === true)) {
      await store.finish(record)
      continue
    }
    await store.discard(name)
    if (container.run !== null) await goOn(container.run)
  }
  const untold = (await store.list()).filter(({ told }) => !told)
  if (untold.length === 0) return
  const events = (await Promise.all([...new Set(untold.map(({ runId }) => runId))].map(async (runId) => await supervisor.options.journal.eventsOfRun(runId)))).flat()
  for (const record of untold) {
    // One is made after another, so what was told since is this one.
    if (events.some(({ type, timestamp }) => type === 'StateCheckpoint' && timestamp >= record.createdAt)) await store.markTold(record)
    else await tell(supervisor, task, container, store, record)
  }
}
