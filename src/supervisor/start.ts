import { LongshoreError, exhausted } from '../errors.ts'
import type { ContainerView, ExitView } from '../schemas/index.ts'
import { loadBundle } from '../runtime/bundle.ts'
import type { Container } from '../runtime/container.ts'
import { nowNs } from '../native/index.ts'
import { timestamp } from '../runtime/exit.ts'
import { forgetRuns } from '../runtime/log-runs.ts'
import { DeleteTask, removeContainer } from './delete.ts'
import { adoptRestart, beginAnew, restartAfter, tellRestart } from './restart.ts'
import { createRun, startRun } from './run.ts'
import { restorationOf, type Restoration } from './restoration.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'
import { tearDown } from './teardown.ts'

/** Starts a created container, or a stopped one again as a new run, from a checkpoint of its own if one is named. */
export class StartTask extends Task<ContainerView> {
  readonly kind = 'start'
  override readonly mutates = true

  readonly #checkpoint: string | undefined

  constructor (input: { containerId: string, checkpoint?: string }, context?: TaskContext) {
    super(input.containerId, context)
    this.#checkpoint = input.checkpoint
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    container.mayMove('start')
    if (container.lifecycle.expired) throw new LongshoreError('lease_expired', `the lease of container ${container.id} ended at ${container.lifecycle.expiresAt ?? ''}: give it a new one first`)
    if (this.#checkpoint !== undefined && container.status !== 'stopped') throw new LongshoreError('invalid_state', `container ${container.id} is ${container.status}: only a stopped one goes on from a checkpoint`)
    const from = this.#checkpoint === undefined ? undefined : await restorationOf(supervisor, { container: container.id, name: this.#checkpoint })
    if (container.status === 'stopped') await this.#again(supervisor, container, from)
    else await StartTask.run(supervisor, this, container, 'keep')
    return container.view()
  }

  /** By request, so what the restart policy counted before is over. */
  async #again (supervisor: Supervisor, container: Container, from: Restoration | undefined): Promise<void> {
    const { run } = container
    const goBack = beginAnew(container)
    try {
      await newRun(supervisor, this, container, from)
    } catch (error) {
      if (container.run === run) goBack()
      throw error
    }
  }

  /** The start itself, for a run that was just created; also the second half of a create. A run that cannot start is torn down. */
  static async run (supervisor: Supervisor, task: Task<unknown>, container: Container, onFailure: 'keep' | 'remove'): Promise<void> {
    const began = process.hrtime.bigint()
    try {
      await startRun(supervisor, task, container)
      supervisor.options.observe('start', Number(process.hrtime.bigint() - began) / 1e9)
    } catch (error) {
      // Whoever creates is answered, and tries again or not: there is nothing left for a policy to start.
      if (onFailure === 'remove') container.lifecycle.restart.stopped = true
      await failed(supervisor, task, container, error)
      if (onFailure === 'remove') await removeContainer(supervisor, task, container)
      throw error
    }
  }
}

/** Makes a new run of a container that has ended, and starts it. When it is refused before there is a run, all stays as it was. */
export async function newRun (supervisor: Supervisor, task: Task<unknown>, container: Container, from?: Restoration): Promise<void> {
  container.renewing = true
  try {
    await makeRun(supervisor, task, container, from)
  } finally {
    container.renewing = false
  }
}

async function makeRun (supervisor: Supervisor, task: Task<unknown>, container: Container, from: Restoration | undefined): Promise<void> {
  await tearDown(supervisor, task, container)
  task.step = 'reading the bundle'
  const bundle = await loadBundle(container.bundle, container.processOverride, container.resources)
  const before = { run: container.run, lastEventId: container.lastEventId }
  container.holdView()
  try {
    await createRun(supervisor, task, container, bundle, from)
  } catch (error) {
    if (container.run === before.run) container.releaseView()
    else await failed(supervisor, task, container, error)
    throw error
  }
  await StartTask.run(supervisor, task, container, 'keep')
  forgetRuns(container.root, container.run?.runId ?? '', supervisor.options.logRuns).catch((error: unknown) => {
    supervisor.log.warn({ err: error, container: container.id }, 'the output of earlier runs could not be removed')
  })
}

/** Told first, then torn down without a StateExit; the container stays, stopped. */
async function failed (supervisor: Supervisor, task: Task<unknown>, container: Container, error: unknown): Promise<void> {
  await startFailed(supervisor, task, container, error)
  await new DeleteTask({ containerId: container.id, noEvent: true }).execute(supervisor)
}

/** The StateStartFailed of a run: why it never came to run its command. Its exit has a status only where the runtime told one. */
export async function startFailed (supervisor: Supervisor, task: Task<unknown>, container: Container, error: unknown): Promise<void> {
  const reason = error instanceof LongshoreError ? error : exhausted(error) ?? new LongshoreError('internal', 'longshore failed at this; the log has the reason', { cause: error })
  const { run, init } = container
  if (run === null || init === undefined) return
  const exit: ExitView = {
    status: reason.extra.exitStatus ?? null,
    signal: null,
    oomKilled: false,
    reason: 'start-failed',
    exitedAt: timestamp(nowNs()),
    outputComplete: true
  }
  const restart = restartAfter(container, exit)
  await supervisor.publish(container, 'StateStartFailed', {
    task,
    process: init,
    exit,
    error: reason,
    apply: () => {
      container.releaseView()
      container.status = 'stopped'
      run.phase = init.status = 'stopped'
      run.exit = init.exit = exit
      adoptRestart(supervisor, container, restart)
      container.changed('stopped')
    }
  })
  // A container that was never told of goes without a trace.
  if (supervisor.containers.has(container.id)) await tellRestart(supervisor, container, restart, task)
}
