import { hasCode } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { nowNs } from '../native/index.ts'
import type { ExitView } from '../schemas/index.ts'
import { isHeld } from '../runtime/blocked.ts'
import { thaw } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import { exitView, type ExitFacts } from '../runtime/exit.ts'
import type { Process } from '../runtime/process.ts'
import { causeOf } from './cause.ts'
import { readExitRecord } from './exit-record.ts'
import { tellOomSoFar } from './oom.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/**
 * A process other than init has ended: its exit is told and kept; the container goes on. Beside the container's lane, in which
 * init's exit may be waiting for this one.
 */
export class ExecExitTask extends Task<void> {
  readonly kind = 'exec-exit'
  override readonly lane = 'free'
  override readonly internal = true
  readonly #runId: string
  readonly #process: Process
  readonly #exit: ExitView

  constructor (input: { containerId: string, runId: string, process: Process, exit: ExitView }, context?: TaskContext) {
    super(input.containerId, context)
    this.#runId = input.runId
    this.#process = input.process
    this.#exit = input.exit
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.containers.get(this.containerId ?? '')
    const process = this.#process
    if (container?.run?.runId !== this.#runId || process.exit !== null) return
    failpoint('exec-exit.seen')
    if (this.#exit.oomKilled) await tellOomSoFar(supervisor, container, this.#runId, process.ended?.oomKills ?? 1)
    await supervisor.publish(container, 'StateExit', {
      task: this,
      process,
      exit: this.#exit,
      apply: () => {
        process.status = 'stopped'
        process.exit = this.#exit
        container.changed('process-exited')
      }
    })
    failpoint('exec-exit.told')
    if (process.handle !== undefined) container.shim?.processes.acknowledge(process.handle)
    process.settle()
    process.save().catch((error: unknown) => {
      supervisor.log.error({ err: error, container: container.id, process: process.id }, 'the record of the process could not be written')
    })
  }
}

/** A process beside init has ended like this: told once, whoever says it first. */
export function execExitSeen (supervisor: Supervisor, container: Container, process: Process, facts: ExitFacts): void {
  const { run } = container
  if (run === null || process.ended !== undefined || process.exit !== null) return
  process.ended = facts
  void supervisor.send(new ExecExitTask({ containerId: container.id, runId: run.runId, process, exit: exitView(facts) }, causeOf(process, facts)))
}

/** Hears of the end of a process beside init: from the shim, else from what it wrote down, else that nobody saw how. */
export function watchExec (supervisor: Supervisor, container: Container, process: Process): void {
  const { handle } = process
  const report = (facts: ExitFacts): void => execExitSeen(supervisor, container, process, facts)
  const lost = (): void => {
    execLost(process).then(report, (error: unknown) => {
      supervisor.log.error({ err: error, container: container.id, process: process.id }, 'the exit of a process cannot be told')
    })
  }
  if (handle === undefined) {
    lost()
    return
  }
  handle.onExit = report
  handle.onLost = lost
  if (handle.exit !== undefined) report(handle.exit)
  else if (handle.lost) lost()
}

/** Without the shim nobody drains its output or reaps it, so a process that still lives is ended. */
async function execLost (process: Process): Promise<ExitFacts> {
  const record = process.directory === undefined ? undefined : await readExitRecord(process.directory, process.id)
  if (record !== undefined) return record
  kill(process)
  const known = await process.handle?.lastStatus() ?? null
  return { waitStatus: known, exitedAtNs: nowNs(), oomKills: null, outputComplete: false, reason: 'monitor-lost' }
}

function kill (process: Process): void {
  try {
    process.handle?.signal(9)
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error
  }
}

/** seconds that what ran beside init has to be gone after SIGKILL */
const killLimit = 15

/**
 * Init has ended: what runs beside it is ended too (with a pid namespace of its own the kernel has done that), what is being
 * started comes to nothing, and all their exits are told. Returns when that is so; after that nothing is executed in this run.
 */
export async function endExecs (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { run, shim } = container
  const left = (): Process[] => [...container.starting.values(), ...container.processes.values()].filter((process) => !process.isInit && process.exit === null && !process.cancelled)
  if (left().length === 0 || run === null) return
  task.step = 'waiting for the processes beside init to end'
  const deadline = performance.now() + killLimit * 1000
  for (;;) {
    const open = left()
    if (open.length === 0) return
    // What a tracer holds is dead, and its status will be told.
    if (performance.now() > deadline && !(await Promise.all(open.map(async ({ pid }) => await isHeld(pid)))).includes(true)) break
    for (const process of open) {
      if (process.status !== 'created') kill(process)
      // It waits for its turn to call the runtime: when it comes, it is refused.
      else if (process.handle === undefined || process.handle.asked === 0) process.cancelled = true
      else if (process.handle.pid === 0) shim?.processes.abort(process.handle)
    }
    if (run.cgroup !== null) await thaw(run.cgroup)
    let timer: NodeJS.Timeout | undefined
    // Again after a while: one that was being started may run by now.
    const pause = new Promise<void>((resolve) => { timer = setTimeout(resolve, 500) })
    await Promise.race([Promise.all(open.filter(({ cancelled }) => !cancelled).map(async ({ over }) => await over)), pause])
    clearTimeout(timer)
  }
  for (const process of left()) {
    supervisor.log.error({ container: container.id, process: process.id, pid: process.pid }, `a process did not end within ${killLimit} s of SIGKILL after init had ended`)
    if (process.status === 'created') {
      process.cancelled = true
      continue
    }
    if (process.ended !== undefined) {
      // Its exit is on its way into the journal, however long that takes: told again it would be refused, and init's with it.
      await process.over
      continue
    }
    const facts: ExitFacts = { waitStatus: null, exitedAtNs: nowNs(), oomKills: null, outputComplete: false, reason: 'monitor-lost' as const }
    process.ended = facts
    await new ExecExitTask({ containerId: container.id, runId: run.runId, process, exit: exitView(facts) }).execute(supervisor)
  }
}
