import { Type, type Static } from 'typebox'
import { nullable, ref } from './common.ts'
import { Exit } from './container.ts'
import { ContainerHealth } from './health.ts'
import type { RestartView } from './lifecycle.ts'

export const eventTypes = ['StateCreate', 'StateStart', 'StateStartFailed', 'StateStartProcess', 'StatePause', 'StateResume', 'StateUpdate', 'StateOOM', 'StateExit', 'StateCheckpoint', 'StateRestore', 'StateDelete',
  // Of restart policies and leases: a container without them never has these.
  'StateRestartScheduled', 'StateExpire',
  // Of health checks, only when the status changes.
  'StateHealth'] as const
export type EventType = typeof eventTypes[number]

export const Event = Type.Object({
  id: Type.String({ description: '`<epoch>:<sequence>`: one sequence for the whole daemon, without holes', examples: ['k3v9:1042'] }),
  type: Type.Enum([...eventTypes]),
  timestamp: Type.String({ format: 'date-time', description: 'When it was recorded, with nanoseconds' }),
  containerId: Type.String(),
  runId: Type.Optional(Type.String()),
  processId: Type.Optional(Type.String()),
  pid: Type.Optional(Type.Integer()),
  exit: Type.Optional(ref(Exit)),
  error: Type.Optional(Type.Object({ code: Type.String(), detail: Type.String() }, { additionalProperties: false, description: 'Why a start failed, or a record cannot be read' })),
  restart: Type.Optional(Type.Unsafe<RestartView>({ $ref: 'Restart#', description: 'StateRestartScheduled: when the next try is due, and why' })),
  expiresAt: Type.Optional(Type.String({ format: 'date-time', description: 'StateExpire: when the lease ended' })),
  checkpoint: Type.Optional(Type.Object({ container: Type.String(), name: Type.String(), createdAt: Type.String({ format: 'date-time' }), exit: Type.Boolean() }, { additionalProperties: false, description: 'StateCheckpoint: the one that was made; StateRestore: the one from which the run goes on' })),
  health: Type.Optional(Type.Unsafe<Static<typeof ContainerHealth>>({ $ref: 'ContainerHealth#', description: 'StateHealth: what the checks have found' })),
  oomKills: Type.Optional(Type.Integer({ minimum: 1, description: 'StateOOM: how many processes of the container the kernel has killed in this run so far' })),
  labels: Type.Record(Type.String(), Type.String()),
  taskId: Type.Optional(Type.String()),
  requestId: Type.Optional(Type.String({ description: 'The X-Request-Id of the request that caused it' }))
}, { $id: 'Event', additionalProperties: false })
export type EventView = Static<typeof Event>

export const EventPage = Type.Object({ items: Type.Array(ref(Event)), nextCursor: nullable('string') }, { $id: 'EventPage', additionalProperties: false })
