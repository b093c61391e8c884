import { Type, type Static } from 'typebox'
import { errorCodes, type ErrorCode } from '../errors.ts'
import { nullable, nullableRef, ref } from './common.ts'

export const Problem = Type.Object({
  type: Type.String({ description: 'A URN that ends in the code' }),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  instance: Type.Optional(Type.String({ description: 'The path that was asked for' })),
  code: Type.Enum(Object.keys(errorCodes) as ErrorCode[], { description: 'Stable; branch on this' }),
  errors: Type.Optional(Type.Array(Type.Object({ field: Type.String(), rule: Type.String() }, { additionalProperties: false }))),
  step: Type.Optional(Type.String({ description: 'What is stuck, or what failed' })),
  taskId: Type.Optional(Type.String()),
  runtime: Type.Optional(Type.String({ description: "The OCI runtime's own words" })),
  exitStatus: Type.Optional(Type.Integer({ description: '127: command not found; 126: not executable' })),
  retryAfter: Type.Optional(Type.Number({ description: 'Seconds' })),
  requestId: Type.Optional(Type.String())
}, { $id: 'Problem', additionalProperties: false, description: 'RFC 9457 problem details' })
export type ProblemView = Static<typeof Problem>

export const TaskResource = Type.Object({
  id: Type.String(),
  kind: Type.Enum(['create', 'start', 'signal', 'stop', 'exit', 'exec', 'exec-exit', 'delete', 'get', 'pause', 'resume', 'update',
    'lease', 'policy', 'checkpoint', 'health']),
  containerId: nullable('string'),
  status: Type.Enum(['queued', 'running', 'succeeded', 'failed']),
  step: nullable('string', { description: 'What it is doing; null once it has ended' }),
  createdAt: Type.String({ format: 'date-time' }),
  startedAt: nullable('string', { format: 'date-time' }),
  finishedAt: nullable('string', { format: 'date-time' }),
  requestId: nullable('string'),
  error: nullableRef(Problem)
}, { $id: 'Task', additionalProperties: false })
export type TaskView = Static<typeof TaskResource>

export const TaskList = Type.Object({ items: Type.Array(ref(TaskResource)), nextCursor: nullable('string') }, { $id: 'TaskList', additionalProperties: false })

export const Version = Type.Object({
  version: Type.String(),
  node: Type.String(),
  apiVersion: Type.String()
}, { $id: 'Version', additionalProperties: false })

export const Info = Type.Object({
  version: Type.String(),
  machine: Type.Object({ cpus: Type.Integer(), memory: Type.Integer({ description: 'bytes' }), kernel: Type.String(), architecture: Type.String(), bootId: Type.String() }, { additionalProperties: false }),
  cgroupVersion: Type.Integer({ description: 'The hierarchy that has the controllers: 1 or 2' }),
  runtimes: Type.Array(Type.Object({ name: Type.String(), path: Type.String(), version: Type.String(), features: Type.Unknown({ description: "The runtime's answer to its features command, null when it has none" }) }, { additionalProperties: false })),
  defaultRuntime: Type.String(),
  criu: Type.Object({
    available: Type.Boolean({ description: 'It is there and works on this kernel' }),
    path: nullable('string'),
    version: nullable('string'),
    reason: nullable('string', { description: 'Why it does not work, in its own words' })
  }, { additionalProperties: false, description: 'CRIU, with which runc and its like make checkpoints' }),
  containers: Type.Record(Type.String(), Type.Integer(), { description: 'How many have each status' }),
  tasks: Type.Object({ queued: Type.Integer(), limit: Type.Integer() }, { additionalProperties: false }),
  journal: Type.Object({
    epoch: Type.String(),
    first: Type.Integer({ description: 'Sequence of the oldest event kept' }),
    head: Type.Integer({ description: 'Sequence of the newest event' }),
    retainEvents: Type.Integer(),
    retainDays: Type.Number(),
    retainBytes: Type.Integer({ description: 'Bytes that its file may have' }),
    bytes: Type.Integer({ description: 'Bytes that its file has in use, as of the last look at the bounds' }),
    writable: Type.Boolean()
  }, { additionalProperties: false }),
  restore: Type.Object({ ready: Type.Boolean(), restored: Type.Integer(), total: Type.Integer() }, { additionalProperties: false }),
  quarantined: Type.Array(Type.Object({ path: Type.String(), reason: Type.String() }, { additionalProperties: false }))
}, { $id: 'Info', additionalProperties: false })

export const Health = Type.Object({ status: Type.String() }, { $id: 'Health', additionalProperties: false })
export const Ready = Type.Object({ status: Type.Enum(['ready', 'restoring', 'journal-unwritable']), restored: Type.Integer(), total: Type.Integer() }, { $id: 'Ready', additionalProperties: false })
