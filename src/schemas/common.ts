import { Type, type Static, type TSchema } from 'typebox'

/** A reference to a shared schema by its $id, typed as what it stands for. */
export function ref<T extends TSchema> (schema: T): ReturnType<typeof Type.Unsafe<Static<T>>> {
  return Type.Unsafe<Static<T>>({ $ref: `${(schema as { $id?: string }).$id ?? ''}#` })
}

/** A value or null, in the form that neither Ajv's coercion nor code generators trip over. */
export function nullable (type: 'string' | 'integer', options: Record<string, unknown> = {}): ReturnType<typeof Type.Unsafe<string | null>> {
  return Type.Unsafe<string | null>({ type: [type, 'null'], ...options })
}

export function nullableInteger (options: Record<string, unknown> = {}): ReturnType<typeof Type.Unsafe<number | null>> {
  return Type.Unsafe<number | null>({ type: ['integer', 'null'], ...options })
}

export function nullableRef<T extends TSchema> (schema: T): ReturnType<typeof Type.Unsafe<Static<T> | null>> {
  return Type.Unsafe<Static<T> | null>({ oneOf: [{ $ref: `${(schema as { $id?: string }).$id ?? ''}#` }, { type: 'null' }] })
}

export const idPattern = '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$'

export const IdParams = Type.Object({
  id: Type.String({ pattern: idPattern, description: 'The id of the container' })
}, { additionalProperties: false })

export const ProcessParams = Type.Object({
  id: Type.String({ pattern: idPattern, description: 'The id of the container' }),
  pid: Type.String({ pattern: idPattern, description: 'The id of the process; `init` is the first one' })
}, { additionalProperties: false })

export const Labels = Type.Record(Type.String({ pattern: '^[^\\u0000-\\u001f=]{1,256}$' }), Type.String({ maxLength: 4096 }), { additionalProperties: false, maxProperties: 64, description: 'Labels: names without control characters or =, at most 64' })

export const Page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'How many items at most' })),
  cursor: Type.Optional(Type.String({ maxLength: 512, description: '`nextCursor` of the page before' }))
}
