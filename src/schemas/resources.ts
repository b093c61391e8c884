import { Type, type Static, type TSchema } from 'typebox'
import { ref } from './common.ts'

const fields = {
  memory: {
    limit: { type: 'integer', minimum: -1, description: 'Bytes; -1: no limit' },
    reservation: { type: 'integer', minimum: -1, description: 'Bytes below which the container is spared when memory is short; -1: none' },
    swap: { type: 'integer', minimum: -1, description: 'Bytes of memory and swap together; -1: no limit' }
  },
  cpu: {
    shares: { type: 'integer', minimum: 2, maximum: 262144, description: 'Weight among others; 1024 is usual' },
    quota: { type: 'integer', minimum: -1, description: 'Microseconds of CPU time in each period; -1: no limit' },
    period: { type: 'integer', minimum: 1000, maximum: 1_000_000, description: 'Microseconds' },
    cpus: { type: 'string', maxLength: 1024, pattern: '^\\d+(-\\d+)?(,\\d+(-\\d+)?)*$', description: 'The CPUs it may run on, for example `0-2,7`' },
    mems: { type: 'string', maxLength: 1024, pattern: '^\\d+(-\\d+)?(,\\d+(-\\d+)?)*$', description: 'The memory nodes it may use' }
  },
  pids: {
    limit: { type: 'integer', minimum: -1, description: 'Processes and threads; -1: no limit' }
  },
  blockIO: {
    weight: { type: 'integer', minimum: 10, maximum: 1000, description: 'Weight among others' }
  }
} as const

type Value<T extends { type: string }> = T['type'] extends 'string' ? string : number
type Fields = typeof fields

/** Resources in the terms of `linux.resources` of an OCI config.json; what is absent is not limited, or not known of. */
export type ResourcesView = { [G in keyof Fields]?: { [F in keyof Fields[G]]?: Value<Fields[G][F] & { type: string }> } }
/** A JSON merge patch (RFC 7396) of them: null clears. */
export type ResourcesPatchView = { [G in keyof Fields]?: { [F in keyof Fields[G]]?: Value<Fields[G][F] & { type: string }> | null } | null }

export type ResourceGroup = keyof Fields
/** Which fields each group has. */
export const resourceFields = Object.fromEntries(Object.entries(fields).map(([group, of]) => [group, Object.keys(of)])) as { [G in ResourceGroup]: (keyof Fields[G] & string)[] }
/** The JSON type of a field. */
export function resourceType (group: ResourceGroup, field: string): 'integer' | 'string' {
  return (fields[group] as Record<string, { type: 'integer' | 'string' }>)[field]?.type ?? 'integer'
}

function groups (value: (schema: Record<string, unknown> & { type: string }) => Record<string, unknown>, group: (schema: TSchema) => TSchema): Record<string, TSchema> {
  return Object.fromEntries(Object.entries(fields).map(([name, of]) => [name,
    Type.Optional(group(Type.Object(Object.fromEntries(Object.entries(of).map(([field, schema]) => [field, Type.Optional(Type.Unsafe(value(schema)))])), { additionalProperties: false })))]))
}

const description = 'In the terms of `linux.resources` of an OCI config.json'

export const Resources = Type.Unsafe<ResourcesView>(Type.Object(groups((schema) => schema, (schema) => schema), { $id: 'Resources', additionalProperties: false, description: `${description}; what is absent has no limit of its own` }))

export const ResourcesPatch = Type.Unsafe<ResourcesPatchView>(Type.Object(
  groups((schema) => ({ ...schema, type: [schema.type, 'null'] }), (schema) => Type.Unsafe({ ...schema, type: ['object', 'null'] })),
  { $id: 'ResourcesPatch', additionalProperties: false, description: `${description}, as a JSON merge patch (RFC 7396): null clears` }))

export const UpdateRequest = Type.Object({
  resources: Type.Optional(ref(ResourcesPatch)),
  labels: Type.Optional(Type.Unsafe<Record<string, string | null>>({
    type: 'object',
    patternProperties: { '^[^\\u0000-\\u001f=]{1,256}$': { type: ['string', 'null'], maxLength: 4096 } },
    additionalProperties: false,
    maxProperties: 128,
    description: 'A JSON merge patch: null takes a label away'
  }))
}, { $id: 'UpdateRequest', additionalProperties: false })
export type UpdateRequest = Static<typeof UpdateRequest>
