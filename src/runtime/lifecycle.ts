import type { RestartPolicyRequest, RestartPolicyView, RestartView } from '../schemas/index.ts'

/** What decides on a container beyond one run; durable, as a part of its record. */
export type Lifecycle = {
  restartPolicy: RestartPolicyView | null
  restart: RestartState
  /** RFC 3339; when its lease ends */
  expiresAt: string | null
  /** the end of the lease has been told, or came when nothing ran */
  expired: boolean
}

export type RestartState = RestartView & {
  /** the run whose end this was decided on */
  decidedFor: string | null
  /** somebody asked for it to be stopped */
  stopped: boolean
}

export const noRestart: Readonly<RestartState> = { attempts: 0, nextAt: null, reason: null, decidedFor: null, stopped: false }

/** From a record, which may be older than these fields. */
export function lifecycleOf (record: Partial<Lifecycle> = {}): Lifecycle {
  return { restartPolicy: null, expiresAt: null, expired: false, ...record, restart: { ...noRestart, ...record.restart } }
}

export const policyDefaults: Readonly<Omit<RestartPolicyView, 'name'>> = { maxAttempts: 0, initialDelay: 1, factor: 2, maxDelay: 60, jitter: 0.1, resetAfter: 10 }

export function fullPolicy (policy: RestartPolicyRequest): RestartPolicyView {
  return { ...policyDefaults, ...policy }
}

/** Its part of what clients see; what a container does not have is not there. */
export function lifecycleView ({ restartPolicy, restart, expiresAt }: Lifecycle): LifecycleView {
  const { attempts, nextAt, reason } = restart
  return {
    ...(restartPolicy === null ? {} : { restartPolicy }),
    ...(restartPolicy === null && reason === null ? {} : { restart: { attempts, nextAt, reason } }),
    ...(expiresAt === null ? {} : { expiresAt })
  }
}

export type LifecycleView = { restartPolicy?: RestartPolicyView, restart?: RestartView, expiresAt?: string }
