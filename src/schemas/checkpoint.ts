import { Type, type Static } from 'typebox'
import { idPattern, nullable, ref } from './common.ts'

const emptyNamespaces = Type.Array(Type.Enum(['network']), { maxItems: 1, description: 'Namespaces that are made anew at a restore, without what was in them' })

export const CheckpointRequest = Type.Object({
  name: Type.String({ pattern: idPattern, description: 'Of this container alone' }),
  exit: Type.Optional(Type.Boolean({ default: false, description: 'End the container with it; otherwise it runs on' })),
  tcp: Type.Optional(Type.Boolean({ default: false, description: 'With its open TCP connections' })),
  unixSockets: Type.Optional(Type.Boolean({ default: false, description: 'With its unix sockets that lead outside' })),
  shell: Type.Optional(Type.Boolean({ default: false, description: 'With a terminal or session of outside' })),
  emptyNS: Type.Optional(emptyNamespaces)
}, { $id: 'CheckpointRequest', additionalProperties: false })
export type CheckpointRequest = Static<typeof CheckpointRequest>

export const Checkpoint = Type.Object({
  name: Type.String(),
  containerId: Type.String(),
  runId: Type.String({ description: 'The run that it was made of' }),
  createdAt: Type.String({ format: 'date-time' }),
  size: Type.Integer({ description: 'Bytes of its images' }),
  exit: Type.Boolean({ description: 'The container ended with it' }),
  tcp: Type.Boolean(),
  unixSockets: Type.Boolean(),
  shell: Type.Boolean(),
  emptyNS: emptyNamespaces
}, { $id: 'Checkpoint', additionalProperties: false })
export type CheckpointView = Static<typeof Checkpoint>

export const CheckpointList = Type.Object({ items: Type.Array(ref(Checkpoint)), nextCursor: nullable('string') }, { $id: 'CheckpointList', additionalProperties: false })

export const StartRequest = Type.Object({
  checkpoint: Type.Optional(Type.String({ pattern: idPattern, description: 'The name of a checkpoint of this container, which must be stopped: it goes on from there' }))
}, { $id: 'StartRequest', additionalProperties: false })

const id = idPattern.slice(1, -1)
/** Where a container is restored from, in a request. */
export const CheckpointSource = Type.Union([
  Type.String({ pattern: `^${id}(/${id})?$`, maxLength: 257, description: '`<container>/<name>`' }),
  Type.Object({ container: Type.String({ pattern: idPattern }), name: Type.String({ pattern: idPattern }) }, { additionalProperties: false })
], { description: 'Go on from a checkpoint of this or another container, in place of beginning anew: `"<container>/<name>"` or both apart; a name alone is one of the container `id`' })
export type CheckpointSource = Static<typeof CheckpointSource>

export const CheckpointParams = Type.Object({
  id: Type.String({ pattern: idPattern, description: 'The id of the container' }),
  name: Type.String({ pattern: idPattern, description: 'The name of the checkpoint' })
}, { additionalProperties: false })
