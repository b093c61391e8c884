import { Type, type Static } from 'typebox'
import { nullable } from './common.ts'

const seconds = (maximum: number, description: string) => Type.Optional(Type.Number({ minimum: 0, maximum, description: `Seconds: ${description}` })) // the inferred type is the point

export const restartPolicyNames = ['no', 'on-failure', 'always', 'unless-stopped'] as const

export const RestartPolicy = Type.Object({
  name: Type.Enum([...restartPolicyNames], { description: '`on-failure`: after any end but status 0; `always`: after every end, and at a start of the daemon even when it was stopped by request; `unless-stopped`: after every end' }),
  maxAttempts: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, description: 'Tries in a row before it gives up; 0, the default: no bound' })),
  initialDelay: seconds(86_400, 'from the exit to the first try; 1 by default'),
  factor: Type.Optional(Type.Number({ minimum: 1, maximum: 100, description: 'By which the delay grows with each try in a row; 2 by default' })),
  maxDelay: seconds(86_400, 'the longest delay; 60 by default'),
  jitter: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'The part of a delay that may be added or taken off; 0.1 by default' })),
  resetAfter: seconds(86_400, 'a run that lasts this long begins the count anew; 10 by default')
}, { $id: 'RestartPolicy', additionalProperties: false, description: 'Whether a container that has ended is started again, as a new run' })
export type RestartPolicyRequest = Static<typeof RestartPolicy>
/** With its defaults filled in. */
export type RestartPolicyView = Required<RestartPolicyRequest>

export const restartReasons = ['exited', 'failed', 'daemon-started', 'unhealthy', 'succeeded', 'stopped', 'gave-up', 'expired', 'withdrawn'] as const

export const Restart = Type.Object({
  attempts: Type.Integer({ minimum: 0, description: 'Tries in a row, with the next one' }),
  nextAt: nullable('string', { format: 'date-time', description: 'When the next try is due; null when none is' }),
  reason: nullable('string', { enum: [...restartReasons, null], description: 'Why there is a next try (`exited`, `failed`, `unhealthy`, `daemon-started`), or why there is none' })
}, { $id: 'Restart', additionalProperties: false, description: 'What the restart policy decided last' })
export type RestartView = Omit<Static<typeof Restart>, 'reason'> & { reason: typeof restartReasons[number] | null }

export const timeToLive = { minimum: 0.001, maximum: 31_622_400, description: 'Seconds from now after which the container is stopped (and removed with autoRemove) unless the lease is renewed' }

export const LeaseRequest = Type.Object({
  timeToLive: Type.Unsafe<number | null>({ type: ['number', 'null'], ...timeToLive, description: `${timeToLive.description}; null: it has no lease any more` })
}, { $id: 'LeaseRequest', additionalProperties: false })
