import { Type, type Static } from 'typebox'
import { CheckpointSource } from './checkpoint.ts'
import { RestartPolicy, timeToLive, type RestartView } from './lifecycle.ts'
import { ContainerHealth, HealthCheck } from './health.ts'
import { idPattern, Labels, nullable, nullableInteger, nullableRef, ref } from './common.ts'
import { Resources } from './resources.ts'

export const statuses = ['created', 'running', 'pausing', 'paused', 'stopping', 'stopped', 'deleting', 'lost'] as const
export const reasons = ['exited', 'signaled', 'oom', 'monitor-lost', 'host-rebooted', 'start-failed'] as const

const Time = (description: string): ReturnType<typeof Type.String> => Type.String({ format: 'date-time', description })

export const Exit = Type.Object({
  status: nullableInteger({ minimum: 0, maximum: 255, description: 'The exit status; 128 + n when signal n ended the process; null when nobody saw it' }),
  signal: nullable('string', { description: 'The name of the signal that ended the process, or null' }),
  oomKilled: Type.Boolean({ description: 'The kernel killed a process of the container for want of memory' }),
  reason: Type.Enum([...reasons], { description: 'Why it ended, or why that is not known' }),
  exitedAt: Time('When it ended, with nanoseconds'),
  outputComplete: Type.Boolean({ description: 'All output was read before the exit was told' })
}, { $id: 'Exit', additionalProperties: false, description: 'How a process ended. Written once, never invented, never changed' })
export type ExitView = Static<typeof Exit>

export const User = Type.Object({
  uid: Type.Integer({ minimum: 0 }),
  gid: Type.Integer({ minimum: 0 }),
  additionalGids: Type.Array(Type.Integer({ minimum: 0 }))
}, { additionalProperties: false })

export const Process = Type.Object({
  id: Type.String({ description: '`init` is the first process of the container' }),
  pid: nullableInteger({ description: 'The pid as the host sees it; null once the process has ended' }),
  args: Type.Array(Type.String()),
  env: Type.Array(Type.String()),
  cwd: Type.String(),
  user: User,
  terminal: Type.Boolean(),
  status: Type.Enum(['created', 'running', 'stopped']),
  startedAt: nullable('string', { format: 'date-time' }),
  exit: nullableRef(Exit)
}, { $id: 'Process', additionalProperties: false })
export type ProcessView = Static<typeof Process>

export const Container = Type.Object({
  id: Type.String(),
  runId: nullable('string', { description: 'The current or last run; unique for ever' }),
  status: Type.Enum([...statuses]),
  bundle: Type.String({ description: 'The path of the OCI bundle' }),
  runtime: Type.String(),
  runtimeArgs: Type.Array(Type.String()),
  noPivotRoot: Type.Boolean(),
  labels: Type.Record(Type.String(), Type.String()),
  resources: ref(Resources),
  pid: nullableInteger({ description: "init's pid as the host sees it; null once it has ended" }),
  processes: Type.Array(ref(Process)),
  autoRemove: Type.Boolean(),
  createdAt: Time('When the container was created'),
  startedAt: nullable('string', { format: 'date-time' }),
  exit: nullableRef(Exit),
  restartPolicy: Type.Optional(ref(RestartPolicy)),
  restart: Type.Optional(Type.Unsafe<RestartView>({ $ref: 'Restart#' })),
  expiresAt: Type.Optional(Time('When its lease ends: it is stopped then unless that is renewed')),
  healthCheck: Type.Optional(ref(HealthCheck)),
  health: nullableRef(ContainerHealth),
  lastEventId: nullable('string', { description: 'The event after which the container looks like this' })
}, { $id: 'Container', additionalProperties: false })
export type ContainerView = Static<typeof Container>

export const SignalValue = Type.Unsafe<string | number>({
  type: ['string', 'integer'],
  maxLength: 32,
  description: 'A name with or without SIG, or a number; 0 only probes',
  examples: ['SIGTERM', 'TERM', 15]
})

export const Text = Type.String({ pattern: '^[^\\u0000]*$' })
export const UserRequest = Type.Object({
  uid: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295 })),
  gid: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295 })),
  additionalGids: Type.Optional(Type.Array(Type.Integer({ minimum: 0, maximum: 4294967295 }), { maxItems: 1024 }))
}, { additionalProperties: false })

export const CreateRequest = Type.Object({
  id: Type.Optional(Type.String({ pattern: idPattern, description: 'Made by the server when absent' })),
  bundle: Type.String({ minLength: 1, maxLength: 4096, pattern: '^[^\\u0000]*$', description: 'Absolute path of an OCI bundle; it is never written to' }),
  labels: Type.Optional(Labels),
  runtime: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, pattern: '^[^\\u0000]*$', description: 'An OCI runtime on PATH, or an absolute path' })),
  runtimeArgs: Type.Optional(Type.Array(Type.String({ maxLength: 4096, pattern: '^[^\\u0000]*$' }), { maxItems: 64, description: "Go before the runtime's subcommand" })),
  noPivotRoot: Type.Optional(Type.Boolean()),
  process: Type.Optional(Type.Object({
    args: Type.Optional(Type.Array(Type.String({ pattern: '^[^\\u0000]*$' }), { minItems: 1, maxItems: 4096 })),
    env: Type.Optional(Type.Array(Type.String({ pattern: '^[^\\u0000]*$' }), { maxItems: 4096 })),
    cwd: Type.Optional(Type.String({ pattern: '^/[^\\u0000]*$' })),
    user: Type.Optional(UserRequest),
    terminal: Type.Optional(Type.Boolean()),
    width: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535, description: 'Columns of the terminal at its start' })),
    height: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535, description: 'Rows of the terminal at its start' }))
  }, { additionalProperties: false, description: "Laid over the process of the bundle's config.json" })),
  start: Type.Optional(Type.Boolean({ default: true, description: 'Start it too' })),
  autoRemove: Type.Optional(Type.Boolean({ default: false, description: 'Remove it when it has exited' })),
  stopSignal: Type.Optional(SignalValue),
  stopTimeout: Type.Optional(Type.Number({ minimum: 0, maximum: 86400, description: 'Seconds from the stop signal to SIGKILL; 10 by default' })),
  restartPolicy: Type.Optional(ref(RestartPolicy)),
  timeToLive: Type.Optional(Type.Number(timeToLive)),
  checkpoint: Type.Optional(CheckpointSource),
  healthCheck: Type.Optional(ref(HealthCheck))
}, { $id: 'CreateRequest', additionalProperties: false })
export type CreateRequest = Static<typeof CreateRequest>

export const SignalRequest = Type.Object({
  signal: SignalValue,
  processId: Type.Optional(Type.String({ pattern: idPattern, default: 'init' })),
  all: Type.Optional(Type.Boolean({ default: false, description: 'To every process of the container' }))
}, { $id: 'SignalRequest', additionalProperties: false })

export const ProcessSignalRequest = Type.Object({ signal: SignalValue }, { $id: 'ProcessSignalRequest', additionalProperties: false })

export const StopRequest = Type.Object({
  signal: Type.Optional(SignalValue),
  timeout: Type.Optional(Type.Number({ minimum: 0, maximum: 86400, description: 'Seconds from the signal to SIGKILL' }))
}, { $id: 'StopRequest', additionalProperties: false })

export const ContainerList = Type.Object({ items: Type.Array(ref(Container)), nextCursor: nullable('string') }, { $id: 'ContainerList', additionalProperties: false })
export const ProcessList = Type.Object({ items: Type.Array(ref(Process)), nextCursor: nullable('string') }, { $id: 'ProcessList', additionalProperties: false })
