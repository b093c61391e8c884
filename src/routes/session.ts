import cookie, { type CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { bearer, cookieNames, grantOf, grants, type Guard } from '../http/auth.ts'
import type { Grant } from '../http/open-requests.ts'
import type { Sessions } from '../http/sessions.ts'
import { Session, SessionRequest, ref, type SessionView } from '../schemas/index.ts'
import { problems } from './problems.ts'

const tags = ['sessions']

export type SessionRoutesOptions = { guard: Guard, sessions: Sessions, remote: (request: FastifyRequest) => boolean }

/** The login of a browser, whose EventSource and WebSocket can send a cookie but no Authorization header. */
export async function sessionRoutes (plain: FastifyInstance, { guard, sessions, remote }: SessionRoutesOptions): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  // Here only: its hooks would cost every request something. What comes in is read by the guard.
  await app.register(cookie, { hook: false })

  app.post('/session', {
    config: { access: 'anyone' },
    // With the token in the header there need not be a body.
    preValidation: async (request) => { request.body ??= {} },
    schema: { operationId: 'createSession', tags, summary: "Log a browser in: a token for a cookie, HttpOnly and for this origin's pages only", security: [{ bearer: [] }, {}], body: ref(SessionRequest), response: { 201: ref(Session), ...problems(400, 401, 403, 413, 415, 429, 500) } }
  }, async (request, reply) => {
    reply.code(201).header('location', '/session').header('cache-control', 'no-store')
    // Over the unix socket nobody is asked who they are, so there is nothing to remember.
    if (!remote(request)) return view(undefined)
    const token = await guard.checkToken(request, request.body.token ?? bearer(request.headers.authorization))
    await endOld(request)
    const { id, session } = await sessions.begin(token)
    const secure = overTls(request)
    reply.setCookie(secure ? cookieNames.tls : cookieNames.plain, id, { ...attributes, secure, expires: new Date(session.expiresAt) })
    return view(grantOf(token, session))
  })

  app.get('/session', {
    schema: { operationId: 'getSession', tags, summary: 'Who asks, and what that allows', response: { 200: ref(Session), ...problems(401, 403, 429, 500) } }
  }, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    return view(grants.get(request))
  })

  app.delete('/session', {
    config: { access: 'anyone' },
    schema: { operationId: 'deleteSession', tags, summary: 'Log out: the session and its open streams end', security: [{ session: [] }, {}], response: { 204: Type.Null({ description: 'Done, also when there was none' }), ...problems(403, 500) } }
  }, async (request, reply) => {
    await endOld(request)
    clearCookies(reply, overTls(request))
    return await reply.code(204).send(null)
  })

  async function endOld (request: FastifyRequest): Promise<void> {
    const old = await guard.session(request)
    if (old === undefined) return
    const ended = sessions.end(old.session.hash)
    guard.sweep()
    await ended
  }
}

const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'strict' }

function clearCookies (reply: FastifyReply, secure: boolean): void {
  reply.clearCookie(cookieNames.plain, attributes)
  if (secure) reply.clearCookie(cookieNames.tls, { ...attributes, secure })
}

/** Also behind a proxy that ends TLS: the browser says so in Origin, which the guard has checked. */
function overTls (request: FastifyRequest): boolean {
  return request.protocol === 'https' || request.headers.origin?.startsWith('https://') === true
}

function view (grant: Grant | undefined): SessionView {
  if (grant === undefined) return { via: 'socket', name: null, scope: 'admin', labels: null, createdAt: null, expiresAt: null }
  const { name, scope, labels = null, session } = grant
  const time = (milliseconds: number | undefined): string | null => (milliseconds === undefined ? null : new Date(milliseconds).toISOString())
  return { via: session === undefined ? 'token' : 'session', name, scope, labels, createdAt: time(session?.createdAt), expiresAt: time(session?.expiresAt) }
}
