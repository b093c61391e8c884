import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { ContainerView } from '../schemas/index.ts'
import { freeze, thawAndWait } from '../runtime/cgroup-freezer.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import { armHealth } from './health.ts'
import { expectState, freezeLimit, freezerOf } from './pause.ts'
import { callRuntime, stateByRuntime } from './runtime-call.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** Thaws a paused container; signals that it was sent meanwhile are acted on now. */
export class ResumeTask extends Task<ContainerView> {
  readonly kind = 'resume'
  override readonly mutates = true

  constructor (input: { containerId: string }, context?: TaskContext) {
    super(input.containerId, context)
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    container.mayMove('resume')
    const { init, run } = container
    if (run === null || init === undefined) throw new Error('what is paused has a run')
    await thawRun(supervisor, this, container, run)
    failpoint('resume.thawed')
    this.step = 'writing the journal'
    try {
      await supervisor.publish(container, 'StateResume', {
        task: this,
        process: init,
        apply: () => {
          run.paused = false
          if (container.status === 'paused') container.move('resume')
          armHealth(supervisor, container)
        }
      })
    } catch (error) {
      // Nobody was told, so it stays as it is shown.
      const group = freezerOf(run)
      if (group !== undefined) await freeze(group, freezeLimit)
      throw error
    }
    failpoint('resume.told')
    supervisor.save(container)
    return container.view()
  }
}

async function thawRun (supervisor: Supervisor, task: Task<unknown>, container: Container, run: RunRecord): Promise<void> {
  const group = freezerOf(run)
  if (group === undefined) {
    try {
      await callRuntime(supervisor, task, container, ['resume'])
    } catch (error) {
      // It may have done it before it failed: then it is done, and has to be told.
      if (await stateByRuntime(supervisor, task, container, run.runtimePath).catch(() => undefined) === 'running') return
      throw error
    }
    await expectState(supervisor, task, container, run, 'running')
    return
  }
  task.step = 'waiting for its processes to thaw'
  const state = await thawAndWait(group, freezeLimit)
  if (state === 'thawed' || state === undefined) return
  throw new LongshoreError('timeout', `container ${container.id} did not thaw within ${freezeLimit} s: a cgroup above ${group.freezer ?? ''} may be frozen`, { extra: { step: task.step, taskId: task.id } })
}

/** A container that is being stopped acts on its signal only when it is thawed; that it goes on is told, its status stays. */
export async function wakeUp (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { init, run } = container
  if (run === null || init === undefined || run.paused !== true) return
  await thawRun(supervisor, task, container, run)
  await supervisor.publish(container, 'StateResume', { task, process: init, apply: () => { run.paused = false } })
  supervisor.save(container)
}
