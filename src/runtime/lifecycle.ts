import type { HealthCheckRequest, HealthCheckView, HealthView, RestartPolicyRequest, RestartPolicyView, RestartView } from '../schemas/index.ts'

/** What decides on a container beyond one run; durable, as a part of its record. */
export type Lifecycle = {
  restartPolicy: RestartPolicyView | null
  restart: RestartState
  /** RFC 3339; when its lease ends */
  expiresAt: string | null
  /** the end of the lease has been told, or came when nothing ran */
  expired: boolean
  healthCheck: HealthCheckView | null
  health: HealthState
}

export type HealthState = HealthView & {
  /** the run that it was found out about */
  runId: string | null
  /** a change that is being told: what it is to be after it, and where the journal ended before it */
  telling: { health: HealthView, after: string } | null
}

export const noHealth: Readonly<HealthState> = { status: 'starting', failingStreak: 0, lastAt: null, output: null, runId: null, telling: null }

const healthDefaults = { interval: 30, timeout: 30, retries: 3, startPeriod: 0, onUnhealthy: 'none' } as const

export function fullHealthCheck (check: HealthCheckRequest): HealthCheckView {
  return { ...healthDefaults, ...check, ...(check.http === undefined ? {} : { http: { path: '/', ...check.http } }) }
}

export type RestartState = RestartView & {
  /** the run whose end this was decided on */
  decidedFor: string | null
  /** somebody asked for it to be stopped */
  stopped: boolean
  /** a run that is stopped to be started again, since it was unhealthy */
  unhealthy: string | null
}

export const noRestart: Readonly<RestartState> = { attempts: 0, nextAt: null, reason: null, decidedFor: null, stopped: false, unhealthy: null }

/** From a record, which may be older than these fields. */
export function lifecycleOf (record: Partial<Lifecycle> = {}): Lifecycle {
  return { restartPolicy: null, expiresAt: null, expired: false, healthCheck: null, ...record, health: { ...noHealth, ...record.health }, restart: { ...noRestart, ...record.restart } }
}

export const policyDefaults: Readonly<Omit<RestartPolicyView, 'name'>> = { maxAttempts: 0, initialDelay: 1, factor: 2, maxDelay: 60, jitter: 0.1, resetAfter: 10 }

export function fullPolicy (policy: RestartPolicyRequest): RestartPolicyView {
  return { ...policyDefaults, ...policy }
}

/** Its part of what clients see; what a container does not have is not there. */
export function lifecycleView ({ restartPolicy, restart, expiresAt, healthCheck, health }: Lifecycle, runId: string | null): LifecycleView {
  const { attempts, nextAt, reason } = restart
  return {
    ...(restartPolicy === null ? {} : { restartPolicy }),
    ...(restartPolicy === null && reason === null ? {} : { restart: { attempts, nextAt, reason } }),
    ...(expiresAt === null ? {} : { expiresAt }),
    ...(healthCheck === null ? {} : { healthCheck }),
    health: healthCheck === null ? null : healthView(health.runId === runId ? health : noHealth)
  }
}

export function healthView ({ status, failingStreak, lastAt, output }: HealthView): HealthView {
  return { status, failingStreak, lastAt, output }
}

export type LifecycleView = { restartPolicy?: RestartPolicyView, restart?: RestartView, expiresAt?: string, healthCheck?: HealthCheckView, health: HealthView | null }
