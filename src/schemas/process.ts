import { Type, type Static } from 'typebox'
import { idPattern } from './common.ts'
import { Process, Text, UserRequest } from './container.ts'

const size = (what: string): ReturnType<typeof Type.Integer> => Type.Integer({ minimum: 1, maximum: 65535, description: `${what} of the terminal` })
const Capabilities = Type.Array(Type.String({ pattern: '^CAP_[A-Z_]{1,40}$' }), { maxItems: 64 })
const CapabilitySet = Type.Optional(Capabilities)

export const ExecRequest = Type.Object({
  id: Type.Optional(Type.String({ pattern: idPattern, description: 'Made by the server when absent; never used twice in a run' })),
  args: Type.Array(Text, { minItems: 1, maxItems: 4096, description: 'The command and its arguments' }),
  env: Type.Optional(Type.Array(Text, { maxItems: 4096, description: "`NAME=value`; laid over the container's, of which those of the same name are replaced" })),
  cwd: Type.Optional(Type.String({ pattern: '^/[^\\u0000]*$', maxLength: 4096, description: "The container's when absent" })),
  user: Type.Optional(UserRequest),
  terminal: Type.Optional(Type.Boolean({ default: false, description: 'With a terminal, whose output is all stdout' })),
  width: Type.Optional(size('Columns')),
  height: Type.Optional(size('Rows')),
  capabilities: Type.Optional(Type.Union([Type.Object({
    bounding: CapabilitySet, effective: CapabilitySet, inheritable: CapabilitySet, permitted: CapabilitySet, ambient: CapabilitySet
  }, { additionalProperties: false }), Capabilities], { description: "In place of the container's; a list is for `bounding`, `effective` and `permitted` alike" })),

  noNewPrivileges: Type.Optional(Type.Boolean()),
  rlimits: Type.Optional(Type.Array(Type.Object({
    type: Type.String({ pattern: '^RLIMIT_[A-Z]{1,20}$' }),
    soft: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    hard: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
  }, { additionalProperties: false }), { maxItems: 32, description: "In place of the container's" }))
}, { $id: 'ExecRequest', additionalProperties: false })
export type ExecRequest = Static<typeof ExecRequest>

export const ExecResult = Type.Object({
  ...Process.properties,
  stdout: Type.Optional(Type.String({ description: 'With `wait=true`: the first MiB, as text' })),
  stderr: Type.Optional(Type.String({ description: 'With `wait=true`: the first MiB, as text' })),
  truncated: Type.Optional(Type.Boolean({ description: 'With `wait=true`: there was more than `stdout` and `stderr` hold; `…/logs` may have it' }))
}, { $id: 'ExecResult', additionalProperties: false })
export type ExecResult = Static<typeof ExecResult>

export const ResizeRequest = Type.Object({ width: size('Columns'), height: size('Rows') }, { $id: 'ResizeRequest', additionalProperties: false })
