import { Type, type Static } from 'typebox'
import { nullable } from './common.ts'

const duration = (minimum: number, description: string) => Type.Optional(Type.Number({ minimum, maximum: 86_400, description: `Seconds: ${description}` })) // the inferred type is the point
const Port = Type.Integer({ minimum: 1, maximum: 65_535, description: 'On 127.0.0.1, else ::1, in the network namespace of the container' })

export const unhealthyActions = ['none', 'restart', 'stop', 'kill'] as const

export const HealthCheck = Type.Object({
  exec: Type.Optional(Type.Object({
    args: Type.Array(Type.String({ pattern: '^[^\\u0000]*$', maxLength: 131_072 }), { minItems: 1, maxItems: 256 })
  }, { additionalProperties: false, description: 'A command in the container, with the environment, user and directory of its own process; healthy when it exits with 0' })),
  tcp: Type.Optional(Type.Object({ port: Port }, { additionalProperties: false, description: 'Healthy when a connection is taken' })),
  http: Type.Optional(Type.Object({
    port: Port,
    path: Type.Optional(Type.String({ pattern: '^/[\\u0021-\\u007e]*$', maxLength: 2048, description: '`/` by default' }))
  }, { additionalProperties: false, description: 'A GET; healthy when the status of the answer is 200 to 399' })),
  interval: duration(0.1, 'from the start, and from the end of each check, to the next; 30 by default'),
  timeout: duration(0.05, 'after which a check is ended and has failed; 30 by default'),
  retries: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Failures in a row that make it unhealthy; 3 by default' })),
  startPeriod: duration(0, 'from the start, in which failures do not count; 0 by default'),
  onUnhealthy: Type.Optional(Type.Enum([...unhealthyActions], { description: '`restart`: stopped, and started again as a new run, whatever its restart policy, whose delays and bound hold; `stop`: as by request; `kill`: SIGKILL, after which a restart policy decides as on any end; `none` by default: only told' }))
}, { $id: 'HealthCheck', additionalProperties: false, description: 'How to find out whether the container works: exactly one of `exec`, `tcp` and `http`' })
export type HealthCheckRequest = Static<typeof HealthCheck>
/** With its defaults filled in. */
export type HealthCheckView = HealthCheckRequest & Required<Pick<HealthCheckRequest, 'interval' | 'timeout' | 'retries' | 'startPeriod' | 'onUnhealthy'>>

export const healthStatuses = ['starting', 'healthy', 'unhealthy'] as const

export const ContainerHealth = Type.Object({
  status: Type.Enum([...healthStatuses], { description: '`starting` until a check has succeeded, or enough have failed' }),
  failingStreak: Type.Integer({ minimum: 0, description: 'Failures in a row that count' }),
  lastAt: nullable('string', { format: 'date-time', description: 'When the last check ended; null before the first' }),
  output: nullable('string', { description: 'What the last check said: output of the command (at most 4 KiB), the first line of the answer, or why there was none' })
}, { $id: 'ContainerHealth', additionalProperties: false, description: 'What the health checks of the current or last run have found' })
export type HealthView = Static<typeof ContainerHealth>
