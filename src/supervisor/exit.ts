import { failpoint } from '../failpoints.ts'
import { blockedBy, isHeld } from '../runtime/blocked.ts'
import type { Container } from '../runtime/container.ts'
import { nowNs } from '../native/index.ts'
import { exitView, type ExitFacts } from '../runtime/exit.ts'
import type { Process } from '../runtime/process.ts'
import { causeOf } from './cause.ts'
import { DeleteTask } from './delete.ts'
import { endExecs } from './exec-exit.ts'
import { readExitRecord } from './exit-record.ts'
import { endHealth } from './health.ts'
import { killAll, killInit } from './kill.ts'
import { countedSoFar, tellOom } from './oom.ts'
import { adoptRestart, restartAfter, tellRestart } from './restart.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'
import { deletableAtOnce } from './teardown.ts'

/** Init has ended: its exit is told, and the run is torn down. */
export class ExitTask extends Task<void> {
  readonly kind = 'exit'
  override readonly internal = true
  readonly #runId: string
  readonly #process: Process

  constructor (input: { containerId: string, runId: string, process: Process }, context?: TaskContext) {
    super(input.containerId, context)
    this.#runId = input.runId
    this.#process = input.process
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.containers.get(this.containerId ?? '')
    // Identity is the run: the exit of an earlier one must not end a later one of the same name.
    if (container?.run?.runId !== this.#runId || this.#process.ended === undefined || this.#process.exit !== null) return
    failpoint('exit.seen')
    const began = performance.now()
    const atOnce = deletableAtOnce(container)
    await tellExit(supervisor, this, container, this.#process, this.#process.ended)
    await new DeleteTask({ containerId: container.id, runId: this.#runId, noEvent: true, ended: true, atOnce, within: this }).execute(supervisor)
    supervisor.options.observe('exit', (performance.now() - began) / 1000)
  }
}

/** Whoever follows the events waits for this: all else that an end brings comes behind it. */
async function tellExit (supervisor: Supervisor, task: Task<unknown>, container: Container, init: Process, facts: ExitFacts): Promise<void> {
  const { run } = container
  if (run === null || run.exit !== null) return
  if (container.processes.size > 1 || container.starting.size > 0) await endExecs(supervisor, task, container)
  task.step = 'writing the journal'
  const { oomKills } = facts
  if (oomKills !== null && oomKills > container.oomTold) await tellOom(supervisor, container, run.runId, oomKills)
  // Who saw the end may not have counted: what has been told of kills is true all the same.
  const exit = exitView(oomKills === null && container.oomTold > 0 ? { ...facts, oomKills: container.oomTold } : facts)
  const restart = restartAfter(container, exit)
  await supervisor.publish(container, 'StateExit', {
    task,
    process: init,
    exit,
    apply: () => {
      container.move('exit')
      endHealth(supervisor, container)
      init.status = run.phase = 'stopped'
      init.exit = run.exit = exit
      adoptRestart(supervisor, container, restart)
      container.changed('stopped')
    }
  })
  failpoint('exit.told')
  container.shim?.acknowledge()
  if (restart !== undefined) await tellRestart(supervisor, container, restart, task)
}

/** seconds that a shim has to tell of an exit that init's pidfd has shown */
const shimGrace = 5

/** Init of the current run has ended like this: told once, whoever says it first. */
export function exitSeen (supervisor: Supervisor, container: Container, facts: ExitFacts): void {
  const { init, run } = container
  if (init === undefined || run === null || init.ended !== undefined) return
  init.ended = facts
  void supervisor.send(new ExitTask({ containerId: container.id, runId: run.runId, process: init }, causeOf(init, facts, container.status === 'stopping')))
}

/**
 * Joins the three witnesses of init's end: the shim's message, the shim's own end, init's pidfd.
 * Whichever comes first with a status is believed; the shim's end alone proves nothing about init.
 */
export function watchRun (supervisor: Supervisor, container: Container): void {
  const { shim, init, run } = container
  if (shim === undefined || init === undefined || run === null) return
  const { runId } = run
  let grace: NodeJS.Timeout | undefined
  const report = (facts: ExitFacts): void => {
    clearTimeout(grace)
    if (container.run?.runId === runId) exitSeen(supervisor, container, facts)
  }
  shim.onExit = report
  shim.onInitEnded = () => {
    if (init.ended !== undefined) return
    if (shim.gone) void shimLost(supervisor, container, report)
    else expectExit(false)
  }
  // A shim that can reap init and does not is not a shim any more. What a tracer holds it cannot reap, and is told of when that lets go.
  const expectExit = (known: boolean): void => {
    grace = setTimeout(() => {
      void heldUp(supervisor, container, known).then((held) => {
        if (init.ended !== undefined || shim.gone) return
        if (held) expectExit(true)
        else shim.kill()
      })
    }, shimGrace * 1000)
  }
  shim.onGone = () => {
    if (init.ended === undefined) void shimLost(supervisor, container, report)
  }
  if (shim.exit !== undefined) report(shim.exit)
  else if (shim.gone) void shimLost(supervisor, container, report)
  else if (shim.initStatus !== undefined) shim.onInitEnded(shim.initStatus)
}

/** Whether init, which has ended, is held from its shim; that is logged once. */
async function heldUp (supervisor: Supervisor, container: Container, known: boolean): Promise<boolean> {
  const { run, shim, init } = container
  try {
    if (!await isHeld(init?.pid ?? null, shim?.pid)) return false
    if (!known) supervisor.log.warn({ container: container.id, runId: run?.runId, why: (await blockedBy(container))?.text }, 'the end of a container is waited for: something else holds its init')
    return true
  } catch (error) {
    supervisor.log.error({ err: error, container: container.id }, 'it cannot be found out whether init is held by a tracer')
    return false
  }
}

/**
 * The shim ended before it told of init's end. Its exit record may be on disk; else, without a shim nobody drains the
 * output or reaps, so the container is ended too, and its status is what the kernel still tells, or unknown.
 */
async function shimLost (supervisor: Supervisor, container: Container, report: (facts: ExitFacts) => void): Promise<void> {
  const { shim } = container
  try {
    const record = await readExitRecord(container.outDir, 'init')
    if (record !== undefined) {
      report(record)
      return
    }
    supervisor.log.warn({ container: container.id, shim: shim?.pid }, 'the shim of the container was lost; the container is ended')
    const status = shim?.initStatus
    if (status === undefined && shim !== undefined) {
      await killInit(supervisor, container)
      await killAll(supervisor, container)
      // Its end is still to come: shim.onInitEnded calls again. Without a pidfd for init nothing will.
      if (shim.initWatched && shim.initStatus === undefined) return
    }
    const known = await shim?.lastInitStatus() ?? null
    report({ waitStatus: known, exitedAtNs: nowNs(), oomKills: await countedSoFar(supervisor, container), outputComplete: false, reason: 'monitor-lost' })
  } catch (error) {
    supervisor.log.error({ err: error, container: container.id }, 'the container without a shim could not be ended')
    container.move('lose')
  }
}
