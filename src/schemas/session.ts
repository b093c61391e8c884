import { Type, type Static } from 'typebox'
import { nullable } from './common.ts'

export const SessionRequest = Type.Object({
  token: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, description: 'Instead of the Authorization header' }))
}, { $id: 'SessionRequest', additionalProperties: false })

export const Session = Type.Object({
  via: Type.Enum(['session', 'token', 'socket'], { description: 'What allowed the request: the cookie, a token, or the unix socket' }),
  name: nullable('string', { description: 'Of the token; null over the unix socket' }),
  scope: Type.Enum(['read', 'operate', 'admin']),
  labels: Type.Unsafe<Record<string, string> | null>({ type: ['object', 'null'], additionalProperties: { type: 'string' }, description: 'Only containers with all of these are shown; null for all' }),
  createdAt: nullable('string', { format: 'date-time' }),
  expiresAt: nullable('string', { format: 'date-time', description: 'When the session ends; null for what is no session' })
}, { $id: 'Session', additionalProperties: false })
export type SessionView = Static<typeof Session>
