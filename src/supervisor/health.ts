import { LongshoreError, hasCode } from '../errors.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import { fullHealthCheck, healthView, noHealth } from '../runtime/lifecycle.ts'
import type { HealthCheckRequest, HealthCheckView, HealthView } from '../schemas/index.ts'
import { endLeftCheck, execCheck } from './exec-check.ts'
import { initEnded } from './exec.ts'
import type { Outcome } from './health-checks.ts'
import { judge } from './health-decision.ts'
import { HealthTask } from './health-task.ts'
import type { Supervisor } from './supervisor.ts'

/** seconds until a container that is just being paused is looked at again */
const pausingLook = 1

/** The check with its defaults. Throws bad_request unless it has exactly one kind, and one that goes with the rest. */
export function oneCheck (check: HealthCheckRequest, autoRemove: boolean): HealthCheckView {
  const refuse = (rule: string): never => {
    throw new LongshoreError('bad_request', `healthCheck ${rule}`, { extra: { errors: [{ field: 'healthCheck', rule }] } })
  }
  if ([check.exec, check.tcp, check.http].filter((kind) => kind !== undefined).length !== 1) refuse('must have exactly one of exec, tcp and http')
  if (check.onUnhealthy === 'restart' && autoRemove) refuse('must not restart a container that removes itself (autoRemove)')
  return fullHealthCheck(check)
}

/** A run has begun; for the turn in which that is seen. */
export function beginHealth (supervisor: Supervisor, container: Container): void {
  const { lifecycle, run } = container
  if (lifecycle.healthCheck === null || run === null) return
  lifecycle.health = { ...noHealth, runId: run.runId }
  armHealth(supervisor, container)
}

/** The next check is due an interval from now. */
export function armHealth (supervisor: Supervisor, container: Container): void {
  const { healthCheck } = container.lifecycle
  if (healthCheck !== null) supervisor.deadlines.set('health', container.id, Date.now() + healthCheck.interval * 1000)
}

/** The run has ended; for the turn in which that is seen. */
export function endHealth (supervisor: Supervisor, container: Container): void {
  supervisor.deadlines.clear('health', container.id)
  supervisor.checks.abort(container.id)
}

/** A change that the daemon before this one had told, but not yet written down: before anybody sees the container. */
export async function adoptHealth ({ options: { journal } }: Supervisor, container: Container): Promise<void> {
  const { health } = container.lifecycle
  const { telling } = health
  if (telling === null) return
  health.telling = null
  if (await journal.tells({ after: telling.after, containerId: container.id, type: 'StateHealth' })) Object.assign(health, telling.health)
}

/** Of a container that runs at the start of the daemon: an action that was due is taken, or the checks go on. */
export async function takeUpHealth (supervisor: Supervisor, container: Container): Promise<void> {
  const { lifecycle: { healthCheck, health }, run } = container
  if (healthCheck === null || run === null) return
  await endLeftCheck(supervisor, container)
  if (container.status !== 'running') return
  if (health.runId !== run.runId) {
    beginHealth(supervisor, container)
  } else {
    const last = health.lastAt ?? run.startedAt
    const next = last === null ? 0 : Date.parse(last) + healthCheck.interval * 1000
    // One that was to be ended is so at once.
    const acting = health.status === 'unhealthy' && healthCheck.onUnhealthy !== 'none'
    supervisor.deadlines.set('health', container.id, acting ? 0 : Math.min(Math.max(next, Date.now()), Date.now() + healthCheck.interval * 1000))
  }
}

/** A check is due. It goes on beside the container's lane, so that no verb waits for it. */
export function healthDue (supervisor: Supervisor, id: string): void {
  const container = supervisor.containers.get(id)
  if (container === undefined) return
  const { run, status, lifecycle: { healthCheck, health } } = container
  if (run === null || healthCheck === null) return
  if (health.status === 'unhealthy' && health.runId === run.runId && healthCheck.onUnhealthy !== 'none' && (status === 'running' || status === 'stopping')) {
    void supervisor.send(new HealthTask({ container, run }))
  } else if (status === 'pausing') {
    supervisor.deadlines.set('health', id, Date.now() + pausingLook * 1000)
  } else if (status === 'running' && !supervisor.checks.has(id)) {
    // Whatever else it is, a resume or a start arms it, and so does the end of the check that is under way.
    check(supervisor, container, run, healthCheck).catch((error: unknown) => {
      supervisor.log.error({ err: error, container: id }, 'a health check could not be done; it is tried again')
    }).finally(() => {
      // A pause that is under way may come to nothing: the deadline looks again until it is known.
      if (container.run === run && (container.status === 'running' || container.status === 'pausing') && supervisor.containers.get(id) === container) armHealth(supervisor, container)
    })
  }
}

async function check (supervisor: Supervisor, container: Container, run: RunRecord, healthCheck: HealthCheckView): Promise<void> {
  const { lifecycle } = container
  let begunAt = Date.now()
  const outcome = await supervisor.checks.run(container.id, healthCheck.exec === undefined ? 'probe' : 'exec', async (signal) => {
    begunAt = Date.now()
    return await ask(supervisor, container, healthCheck, signal)
  })
  const { shim } = container
  if (outcome === undefined || container.run !== run || container.status !== 'running' || shim === undefined) return
  // What fails since init has just ended says nothing about its health.
  if (!outcome.healthy && await initEnded(container, shim)) return
  const { health } = lifecycle
  const next: HealthView = judge(healthCheck, health, run.startedAt, { ...outcome, begunAt, endedAt: Date.now() })
  if (next.status !== health.status) {
    await supervisor.send(new HealthTask({ container, run, health: next }))
    return
  }
  const counted = next.failingStreak !== health.failingStreak
  Object.assign(health, healthView(next))
  if (counted) supervisor.saveSoon(container)
}

async function ask (supervisor: Supervisor, container: Container, { exec, tcp, http, timeout }: HealthCheckView, signal: AbortSignal): Promise<Outcome> {
  if (exec !== undefined) return await execCheck(supervisor, container, exec.args, timeout, signal)
  const { shim, run } = container
  const target = tcp ?? http
  if (shim === undefined || run === null || run.pid === null || target === undefined) return undefined
  try {
    return await shim.probe({ pid: run.pid, port: target.port, ...(http === undefined ? {} : { path: http.path ?? '/' }), milliseconds: timeout * 1000 })
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return undefined
    return { healthy: false, output: (error as Error).message }
  }
}
