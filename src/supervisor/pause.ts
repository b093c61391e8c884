import { basename } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { EventType, ContainerView } from '../schemas/index.ts'
import { thaw, type ContainerCgroup } from '../runtime/cgroup.ts'
import { freeze, freezerState, unfrozen } from '../runtime/cgroup-freezer.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import type { Process } from '../runtime/process.ts'
import { callRuntime, stateByRuntime, unusable } from './runtime-call.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** seconds that the processes of a container have to stop */
export const freezeLimit = 10

/**
 * Runtimes whose `state` reads the freezer of the cgroup: for them the daemon freezes and thaws by itself, which takes a
 * write instead of a program, and what they say agrees. Others (a sandbox with a kernel of its own) are asked to do it.
 */
const byFreezer = new Set(['runc', 'crun', 'youki'])

/** The group to freeze, undefined where the runtime is to be asked. */
export function freezerOf (run: RunRecord): ContainerCgroup | undefined {
  return run.cgroup?.freezer !== undefined && byFreezer.has(basename(run.runtimePath)) ? run.cgroup : undefined
}

/** Freezes every process of a running container. */
export class PauseTask extends Task<ContainerView> {
  readonly kind = 'pause'
  override readonly mutates = true

  constructor (input: { containerId: string }, context?: TaskContext) {
    super(input.containerId, context)
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    const { init, run } = container
    container.move('pause')
    if (run === null || init === undefined) throw new Error('what runs has a run')
    // A call of the runtime that makes a process in a frozen group hangs until the thaw: none is to be under way, nor to begin.
    const release = await supervisor.checks.hold(container.id)
    let begun = false
    try {
      await this.#begun(container, init)
      begun = true
      await this.#freeze(supervisor, container, run)
      stillPausing(container, init)
      failpoint('pause.frozen')
      this.step = 'writing the journal'
      await supervisor.publish(container, 'StatePause', { task: this, process: init, apply: () => paused(container, run) })
    } catch (error) {
      if (begun) await this.#undo(supervisor, container, run)
      else if (container.status === 'pausing') container.move('resume')
      throw error
    } finally {
      release()
    }
    failpoint('pause.told')
    supervisor.save(container)
    return container.view()
  }

  /** Waits for processes that are being started; further ones are refused meanwhile. */
  async #begun (container: Container, init: Process): Promise<void> {
    const open = (): Process[] => [...container.starting.values()].filter(({ handle }) => handle !== undefined && handle.asked !== 0)
    const deadline = performance.now() + freezeLimit * 1000
    for (let starting = open(); starting.length > 0; starting = open()) {
      this.step = `waiting for processes that are being started: ${starting.map(({ id }) => id).join(', ')}`
      let timer: NodeJS.Timeout | undefined
      // Looked at again after a while: a stop has to wait in the lane for this.
      const later = new Promise<void>((resolve) => { timer = setTimeout(resolve, Math.max(0, Math.min(100, deadline - performance.now()))) })
      await Promise.race([Promise.all(starting.map(async ({ begun }) => await begun)), later])
      clearTimeout(timer)
      stillPausing(container, init)
      if (performance.now() >= deadline && open().length > 0) throw new LongshoreError('timeout', `container ${container.id} was not paused: the runtime did not come back from an exec within ${freezeLimit} s; it was at: ${this.step}`, { extra: { step: this.step, taskId: this.id } })
    }
  }

  async #freeze (supervisor: Supervisor, container: Container, run: RunRecord): Promise<void> {
    const group = freezerOf(run)
    if (group === undefined) {
      await callRuntime(supervisor, this, container, ['pause'])
      await expectState(supervisor, this, container, run, 'paused')
      return
    }
    this.step = 'waiting for its processes to freeze'
    const blocked = setTimeout(() => {
      unfrozen(group).then((names) => { if (names.length > 0) this.step = `waiting for its processes to freeze: ${names.join(', ')}` }, () => {})
    }, freezeLimit * 500)
    const state = await freeze(group, freezeLimit).finally(() => clearTimeout(blocked))
    if (state === 'frozen') return
    if (state === undefined) throw new LongshoreError('container_not_running', `the cgroup of container ${container.id} is gone`)
    if (state === 'thawed') throw new LongshoreError('invalid_state', `container ${container.id} was thawed by somebody else while it was being paused`)
    throw new LongshoreError('timeout', `container ${container.id} did not freeze within ${freezeLimit} s and was thawed again; it was at: ${this.step}`, { extra: { step: this.step, taskId: this.id } })
  }

  async #undo (supervisor: Supervisor, container: Container, run: RunRecord): Promise<void> {
    const group = freezerOf(run)
    if (container.status === 'pausing') container.move('resume')
    if (group !== undefined) await thaw(group)
    else await callRuntime(supervisor, this, container, ['resume']).catch((error: unknown) => { supervisor.log.warn({ err: error, container: container.id }, 'a pause that failed could not be undone') })
  }
}

/** Throws when a stop, or the end of init, came meanwhile. */
function stillPausing (container: Container, init: Process): void {
  if (init.ended !== undefined) throw new LongshoreError('container_not_running', `container ${container.id} ended while it was being paused`)
  if (container.status !== 'pausing') throw new LongshoreError('invalid_state', `container ${container.id} is ${container.status}: that came while it was being paused`)
}

/** A success of the runtime's pause or resume is believed when its `state` agrees. */
export async function expectState (supervisor: Supervisor, task: Task<unknown>, container: Container, run: RunRecord, expected: 'paused' | 'running'): Promise<void> {
  const step = expected === 'paused' ? 'runtime pause' : 'runtime resume'
  const state = await stateByRuntime(supervisor, task, container, run.runtimePath).catch((error: unknown) => { throw unusable(step, run.runtimePath, error) })
  if (state === expected) return
  throw new LongshoreError('runtime_crashed', `${step}: the runtime reported success, but ${state === undefined ? 'does not tell the state of the container' : `then said that the container is ${state}`}`, { extra: { step } })
}

function paused (container: Container, run: RunRecord): void {
  run.paused = true
  // Otherwise it is being stopped: the signal that goes with that wakes it up.
  if (container.status === 'pausing') container.move('frozen')
}

/** Whether the event stream has said that a run is frozen: the last word in the journal, else the record. */
export function toldPaused (run: RunRecord, told: EventType[]): boolean {
  const last = told.findLast((type) => type === 'StatePause' || type === 'StateResume')
  return last === undefined ? run.paused === true : last === 'StatePause'
}

/** Compares a run that an earlier daemon left with its freezer: what happened between the act and its event is told now. */
export async function restorePaused (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { init, run } = container
  if (run === null || init === undefined || run.phase !== 'running') return
  const group = freezerOf(run)
  if (group === undefined) return
  let state = await freezerState(group)
  // The daemon ended in the middle of it.
  if (state === 'freezing') state = await freeze(group, freezeLimit)
  if (state === undefined || (state === 'frozen') === (run.paused === true)) return
  await supervisor.publish(container, state === 'frozen' ? 'StatePause' : 'StateResume', {
    task,
    process: init,
    apply: () => {
      run.paused = state === 'frozen'
      container.status = run.paused ? 'paused' : 'running'
    }
  })
}
