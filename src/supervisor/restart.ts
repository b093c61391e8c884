import { failpoint } from '../failpoints.ts'
import type { Container } from '../runtime/container.ts'
import { noRestart } from '../runtime/lifecycle.ts'
import type { ExitView, RestartView } from '../schemas/index.ts'
import { decideRestart } from './restart-policy.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'

/** What is to follow on the end of the current run; undefined when nothing has to say anything about it. */
export function restartAfter (container: Container, exit: ExitView): RestartView | undefined {
  const { lifecycle, run } = container
  const { restartPolicy: policy, restart, expiresAt, expired } = lifecycle
  if (run === null || restart.decidedFor === run.runId || (policy === null && restart.unhealthy !== run.runId)) return undefined
  // By the time of the exit, not of this moment: whoever decides later must come to the same.
  const over = expired || (expiresAt !== null && Date.parse(expiresAt) <= Date.parse(exit.exitedAt))
  return decideRestart({ policy, restart, runId: run.runId, startedAt: run.startedAt, exit, expired: over })
}

/** Takes a decision on the current run over into the state; for the turn in which its end is seen. */
export function adoptRestart (supervisor: Supervisor, container: Container, decision: RestartView | undefined): void {
  if (decision === undefined || container.run === null) return
  const { restart } = container.lifecycle
  Object.assign(restart, decision, { decidedFor: container.run.runId })
  armRestart(supervisor, container)
}

/** Tells of a try that is to come; the state shows it already. */
export async function tellRestart (supervisor: Supervisor, container: Container, decision: RestartView | undefined, task?: Task<unknown>): Promise<void> {
  if (decision === undefined || decision.nextAt === null) return
  failpoint('restart.decided')
  await supervisor.publish(container, 'StateRestartScheduled', { ...(task === undefined ? {} : { task }), more: { restart: decision } })
  failpoint('restart.told')
}

export function armRestart (supervisor: Supervisor, container: Container): void {
  const { nextAt } = container.lifecycle.restart
  if (nextAt === null) supervisor.deadlines.clear('restart', container.id)
  else supervisor.deadlines.set('restart', container.id, Date.parse(nextAt))
}

/** Somebody wants it stopped: no try follows until it is started by request. On disk before anything is done about it. */
export async function standDown (supervisor: Supervisor, container: Container): Promise<void> {
  const { lifecycle } = container
  // Also without a policy: one may be given before its end, or after.
  lifecycle.restart.stopped = true
  if (lifecycle.restartPolicy === null && lifecycle.restart.nextAt === null && lifecycle.healthCheck?.onUnhealthy !== 'restart') return
  const pending = lifecycle.restart.nextAt !== null
  Object.assign(lifecycle.restart, { stopped: true, nextAt: null, ...(pending ? { reason: 'stopped' } : {}) })
  armRestart(supervisor, container)
  await container.save()
}

/** Somebody starts it: the count begins anew. Returns the way back, for a start that comes to nothing. */
export function beginAnew (container: Container): () => void {
  const before = container.lifecycle.restart
  const fresh = { ...noRestart }
  container.lifecycle.restart = fresh
  return () => { container.lifecycle.restart = { ...before, stopped: before.stopped || fresh.stopped } }
}

/**
 * What a daemon that has just started makes of a container that has ended: what the one before decided, or would have.
 * `told`: the types of events of its run.
 */
export async function takeUpRestart (supervisor: Supervisor, container: Container, told: ReadonlySet<string>, task: Task<unknown>): Promise<void> {
  const { lifecycle, run } = container
  const { restart, restartPolicy } = lifecycle
  if (run === null || run.exit === null) return
  const decision = restartAfter(container, run.exit)
  adoptRestart(supervisor, container, decision)
  if (decision !== undefined && !told.has('StateRestartScheduled')) await tellRestart(supervisor, container, decision, task)
  if (restartPolicy?.name === 'always' && restart.stopped && !lifecycle.expired) {
    Object.assign(restart, { stopped: false, attempts: 0, nextAt: new Date().toISOString(), reason: 'daemon-started' })
    await tellRestart(supervisor, container, { attempts: 0, nextAt: restart.nextAt, reason: 'daemon-started' }, task)
  }
  armRestart(supervisor, container)
  if (decision !== undefined || restart.reason === 'daemon-started') supervisor.save(container)
}

/** Comes to its turn when all that was sent before it has. */
export class TurnTask extends Task<void> {
  readonly kind = 'get'
  override readonly internal = true

  async execute (): Promise<void> {}
}
