import type { IncomingMessage } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { LongshoreError, exhausted } from '../errors.ts'
import type { ProblemView } from '../schemas/index.ts'
import { logOf } from './log.ts'

/** RFC 9457 problem details of an error; an error of unknown kind tells nothing of its insides. */
function problemOf (error: LongshoreError, request: FastifyRequest): ProblemView {
  return {
    type: `urn:longshore:error:${error.code}`,
    title: error.title,
    status: error.status,
    detail: error.message,
    instance: request.url.split('?')[0] ?? '/',
    code: error.code,
    ...error.extra,
    requestId: request.id
  }
}

function validationError (error: FastifyError): LongshoreError {
  const [first] = error.validation ?? []
  const params = (first?.params ?? {}) as { additionalProperty?: string, missingProperty?: string }
  const path = (first?.instancePath ?? '').slice(1).replaceAll('/', '.')
  const field = [error.validationContext === 'body' ? '' : error.validationContext, path, params.additionalProperty ?? params.missingProperty].filter((part) => part !== undefined && part !== '').join('.')
  const rule = params.additionalProperty !== undefined ? 'is not a known field' : params.missingProperty !== undefined ? 'is missing' : first?.message ?? error.message
  const isId = first?.keyword === 'pattern' && (path === 'id' || path === 'pid' || path === 'processId')
  return new LongshoreError(isId ? 'invalid_id' : 'bad_request', `${field === '' ? 'the request' : field} ${rule}`, { cause: error, extra: { errors: [{ field, rule }] } })
}

function typed (error: unknown): LongshoreError {
  if (error instanceof LongshoreError) return error
  const { code, statusCode, validation, message } = error as FastifyError
  if (validation !== undefined) return validationError(error as FastifyError)
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new LongshoreError('body_too_large', 'the body of a request may have 1 MiB')
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new LongshoreError('unsupported_media_type', 'send the body as application/json')
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return new LongshoreError('bad_request', message)
  return exhausted(error) ?? new LongshoreError('internal', 'longshore failed at this; the log has the reason', { cause: error })
}

export function sendProblem (reply: FastifyReply, request: FastifyRequest, error: LongshoreError): FastifyReply {
  reply.header('x-request-id', request.id)
  const { retryAfter } = error.extra
  if (retryAfter !== undefined) reply.header('retry-after', String(Math.ceil(retryAfter)))
  if (error.code === 'unauthorized') reply.header('www-authenticate', 'Bearer realm="longshore"')
  if (error.code === 'upgrade_required') reply.headers({ upgrade: 'websocket', connection: 'upgrade' })
  if (error.extra.taskId !== undefined && error.code === 'timeout') reply.header('location', `/tasks/${error.extra.taskId}`)
  return reply.code(error.status).type('application/problem+json').serializer(JSON.stringify).send(problemOf(error, request))
}

const discardLimit = 64 * 1024 * 1024
const discardSeconds = 5

/** Reads a body to its end and throws it away, within bounds. */
async function discard (body: IncomingMessage): Promise<void> {
  await new Promise<void>((resolve) => {
    let size = 0
    const timer = setTimeout(resolve, discardSeconds * 1000)
    const done = (): void => { clearTimeout(timer); resolve() }
    body.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > discardLimit) done()
    })
    body.once('end', done).once('close', done).once('error', done)
    if (body.readableEnded || body.destroyed) done()
  })
}

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** Every error leaves as problem+json, also those of Fastify itself. */
export function problemHandlers (app: FastifyInstance): void {
  app.setErrorHandler(async (error, request, reply) => {
    const problem = typed(error)
    // A client that is still sending when the connection closes would never read why.
    if (problem.code === 'body_too_large') await discard(request.raw)
    if (problem.status === 503) logOf(request).info({ code: problem.code }, problem.message)
    else if (problem.status >= 500) logOf(request)[problem.code === 'internal' ? 'error' : 'warn']({ err: error }, problem.message)
    return sendProblem(reply, request, problem)
  })
  app.setNotFoundHandler((request, reply) => {
    const url = request.url.split('?')[0] ?? '/'
    const allowed = methods.filter((method) => method !== request.method && matches(app, method, url))
    if (allowed.length > 0) {
      reply.header('allow', allowed.join(', '))
      return sendProblem(reply, request, new LongshoreError('method_not_allowed', `${url} has ${allowed.join(', ')}, not ${request.method}`))
    }
    return sendProblem(reply, request, new LongshoreError('route_not_found', `there is nothing at ${url}`))
  })
}

/** True when a request of this method would find a route. */
function matches (app: FastifyInstance, method: typeof methods[number], url: string): boolean {
  return routeTable.get(app)?.some((route) => route.method === method && route.pattern.test(url)) ?? false
}

const routeTable = new WeakMap<FastifyInstance, { method: string, pattern: RegExp }[]>()

/** Notes every route as it is added, to tell 405 from 404. Call before any route is. */
export function noteRoutes (app: FastifyInstance): void {
  const table: { method: string, pattern: RegExp }[] = []
  routeTable.set(app, table)
  app.addHook('onRoute', ({ method, url }) => {
    const pattern = new RegExp(`^${url.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))).join('/')}$`)
    for (const one of [method].flat()) table.push({ method: one, pattern })
  })
}
