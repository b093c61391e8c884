import { randomBytes, randomUUID } from 'node:crypto'
import { chmod, unlink } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fastifySSE } from '@fastify/sse'
import swagger from '@fastify/swagger'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { LongshoreError } from './errors.ts'
import { ContainerMetrics } from './container-metrics.ts'
import type { Config } from './config.ts'
import type { Hub } from './events/hub.ts'
import type { Journal } from './events/journal.ts'
import { Guard, cookieNames } from './http/auth.ts'
import { bodies } from './http/bodies.ts'
import { connectionsOf } from './http/connections.ts'
import { idempotency } from './http/idempotency.ts'
import { logTo } from './http/log.ts'
import { noteRoutes, problemHandlers, sendProblem } from './http/problem.ts'
import { Sessions } from './http/sessions.ts'
import { tcpServer } from './http/tcp.ts'
import type { Tokens } from './http/tokens.ts'
import { Validators } from './http/validators.ts'
import type { Metrics } from './metrics.ts'
import { checkpointRoutes } from './routes/checkpoints.ts'
import { containerRoutes } from './routes/containers.ts'
import { attachRoutes } from './routes/attach.ts'
import { eventRoutes } from './routes/events.ts'
import { lifecycleRoutes } from './routes/lifecycle.ts'
import { logRoutes } from './routes/logs.ts'
import { processRoutes } from './routes/processes.ts'
import { Readers } from './routes/readers.ts'
import { resourceRoutes } from './routes/resources.ts'
import { sessionRoutes } from './routes/session.ts'
import { statsRoutes } from './routes/stats.ts'
import { systemRoutes } from './routes/system.ts'
import { taskRoutes } from './routes/tasks.ts'
import { topRoutes } from './routes/top.ts'
import { waitRoutes } from './routes/wait.ts'
import { Sampler } from './runtime/sampler.ts'
import * as schemas from './schemas/index.ts'
import type { Supervisor } from './supervisor/supervisor.ts'

export type ServerParts = {
  config: Config
  supervisor: Supervisor
  journal: Journal
  hub: Hub
  metrics: Metrics
  tokens: Tokens
  version: string
  idempotencyDirectory: string
  logger: FastifyBaseLogger
}

/** milliseconds for connections to close after their last answer; more than an attached client is given to close its side */
const closeGrace = 3000
const bodyLimit = 1024 * 1024
const requestIdPattern = /^[\w.-]{1,128}$/
/** of this daemon; the rest of the id that a request is given is a number, for which the kernel need not be asked */
const requestIdPrefix = randomBytes(6).toString('hex')
let requests = 0

function newRequestId (): string {
  return `${requestIdPrefix}-${(++requests).toString(36)}`
}

const shared = [
  schemas.RestartPolicy, schemas.Restart, schemas.LeaseRequest, schemas.HealthCheck, schemas.ContainerHealth,
  schemas.Resources, schemas.ResourcesPatch, schemas.UpdateRequest, schemas.Exit, schemas.Process, schemas.Container, schemas.CreateRequest, schemas.SignalRequest, schemas.ProcessSignalRequest, schemas.StopRequest, schemas.ContainerList, schemas.ProcessList,
  schemas.Event, schemas.EventPage, schemas.ExecRequest, schemas.ExecResult, schemas.ResizeRequest, schemas.OutputRecord, schemas.LostRecord, schemas.Problem, schemas.TaskResource, schemas.TaskList, schemas.Version, schemas.Info, schemas.Health, schemas.Ready,
  schemas.Session, schemas.SessionRequest, schemas.CheckpointRequest, schemas.Checkpoint, schemas.CheckpointList, schemas.StartRequest]

const measured = [schemas.Pressure, schemas.Stats, schemas.StatsList, schemas.HostProcess, schemas.HostProcessList]

/** The HTTP application: everything but the sockets it listens on. `warm`: makes ahead what the first requests would wait for. */
export async function buildServer (parts: ServerParts): Promise<{ app: FastifyInstance, warm: () => Promise<void> }> {
  const { config, supervisor, journal, hub, metrics, tokens, version, idempotencyDirectory, logger } = parts
  const validators = new Validators()
  const sampler = new Sampler()
  const containerMetrics = new ContainerMetrics({ sampler, containers: () => supervisor.containers.values(), limit: config.metricsContainers })
  const app = Fastify({
    bodyLimit,
    exposeHeadRoutes: false,
    http: { shouldUpgradeCallback },
    logController: new LogController({ disableRequestLogging: true }),
    requestIdHeader: false,
    genReqId: (request) => {
      const given = request.headers['x-request-id']
      return typeof given === 'string' && requestIdPattern.test(given) ? given : newRequestId()
    },
    routerOptions: { maxParamLength: 2048, ignoreTrailingSlash: true },
    // Streams and long polls last as long as they last; only the headers of a request must come in time.
    requestTimeout: 0,
    connectionTimeout: 0,
    // Fastify's own answer while it closes is no problem+json, and comes before any hook.
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => {
      closeRefused(request.raw, reply.raw)
      sendProblem(reply as unknown as FastifyReply, request as unknown as FastifyRequest, new LongshoreError('bad_request', error.message))
    },
    clientErrorHandler,
    schemaController: {
      compilersFactory: {
        // What is answered is made from the same types that the schemas give, so nothing has to be left out or turned on its way.
        buildSerializer: () => () => JSON.stringify,
        buildValidator: validators.build as never
      }
    }
  })
  logTo(app, logger)
  noteRoutes(app)
  problemHandlers(app)
  bodies(app)
  for (const schema of [...shared, ...measured]) app.addSchema(schema)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'longshore', version: '1', description: 'Runs and supervises OCI containers on one Linux host', license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      servers: [{ url: '/' }],
      security: [{ bearer: [] }, { session: [] }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'Asked on TCP only' },
          session: { type: 'apiKey', in: 'cookie', name: cookieNames.plain, description: `A browser's, from POST /session; over TLS its name is \`${cookieNames.tls}\`` }
        }
      },
      tags: [
        { name: 'containers', description: 'Containers, and what can be done with one' },
        { name: 'processes', description: 'The processes of a container' },
        { name: 'events', description: 'The stream of everything that happens' },
        { name: 'tasks', description: 'What the supervisor is doing and has done' },
        { name: 'sessions', description: 'Logins of browsers' },
        { name: 'system', description: 'The daemon itself' }
      ]
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => (typeof json.$id === 'string' ? json.$id : `def-${index}`) }
  })
  await app.register(fastifySSE, { heartbeatInterval: 0 })

  let closing = false
  app.addHook('preClose', (done) => {
    closing = true
    done()
  })
  // Hooks with a callback, not async, wherever all requests come by: each promise is a turn that a signal would wait for.
  // None on a request's way that only few need: each costs all of them, and one on the response listeners besides.
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    closeRefused(request.raw, reply.raw)
    done(closing ? new LongshoreError('not_ready', 'the daemon is stopping; ask again when it is back', { extra: { retryAfter: 1 } }) : undefined)
  })
  tokens.log = logger
  const sessions = new Sessions({ path: join(config.root, 'sessions.json'), tokens, lifetimeSeconds: config.sessionLifetime, log: logger })
  await sessions.open()
  const guard = new Guard(app, {
    tokens,
    sessions,
    remote: (request) => remote.has(request.raw),
    allowedHosts: new Set(['localhost', '127.0.0.1', '[::1]', ...(config.listen === undefined ? [] : [config.listen.host.includes(':') ? `[${config.listen.host}]` : config.listen.host]), ...config.allowedHosts].map((host) => host.toLowerCase())),
    allowedOrigins: new Set(config.allowedOrigins),
    labelsOf: (id) => supervisor.containers.get(id)?.labels
  })
  await idempotency(app, { directory: idempotencyDirectory })
  const readers = new Readers(config.maxOutputReaders)
  await app.register(containerRoutes, { supervisor })
  await app.register(processRoutes, { supervisor })
  await app.register(waitRoutes, { supervisor })
  await app.register(resourceRoutes, { supervisor })
  await app.register(statsRoutes, { supervisor, sampler })
  await app.register(topRoutes, { supervisor })
  await app.register(checkpointRoutes, { supervisor })
  await app.register(lifecycleRoutes, { supervisor })
  await app.register(eventRoutes, { journal, hub, supervisor, maxSubscribers: config.maxSubscribers })
  await app.register(logRoutes, { supervisor, heartbeatSeconds: config.heartbeat, readers })
  await app.register(attachRoutes, { supervisor, heartbeatSeconds: config.heartbeat, readers })
  await app.register(taskRoutes, { supervisor })
  await app.register(sessionRoutes, { guard, sessions, remote: (request: FastifyRequest) => remote.has(request.raw) })
  await app.register(systemRoutes, { supervisor, metrics, containerMetrics, version })
  await app.ready()
  return { app, warm: async () => await validators.warm() }
}

/** An upgrade that is refused: no HTTP parser looks after its socket any more, so nothing else would close it. */
function closeRefused (request: http.IncomingMessage & { upgrade?: boolean }, response: http.ServerResponse): void {
  if (request.upgrade === true) response.once('finish', () => request.socket.destroySoon())
}

const upgradable = /^\/containers\/[^/?]+(?:\/processes\/[^/?]+)?\/attach\/?(?:$|\?)/

/** An Upgrade that a resource does not have is not taken up: the request is answered as if it were not there (RFC 9110, 7.8). */
function shouldUpgradeCallback ({ url = '', headers }: http.IncomingMessage): boolean {
  return upgradable.test(url) && headers.upgrade?.toLowerCase() === 'websocket'
}

/** Requests that came in over TCP, where a token is asked. */
const remote = new WeakSet<object>()

/** What is no HTTP at all, or too much of it, is answered as a problem too. */
function clientErrorHandler (error: Error & { code?: string }, socket: net.Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const problem = error.code === 'HPE_HEADER_OVERFLOW'
    ? new LongshoreError('headers_too_large', 'the headers of a request may have 16 KiB')
    : new LongshoreError('bad_request', 'this is no HTTP request')
  const body = JSON.stringify({ type: `urn:longshore:error:${problem.code}`, title: problem.title, status: problem.status, detail: problem.message, code: problem.code })
  socket.end(`HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status] ?? ''}\r\nX-Request-Id: ${randomUUID()}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
}

/** A socket that nobody listens on is what a killed daemon left; one that answers belongs to another daemon. */
async function clearStaleSocket (path: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const probe = net.connect(path)
    probe.once('connect', () => { probe.destroy(); resolve(true) })
    probe.once('error', () => resolve(false))
  })
  if (answers) throw new Error(`another process listens on ${path}`)
  await unlink(path).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error })
}

export type Listening = {
  /** of the TCP port that was really taken */
  address: string | undefined
  /** takes up a new certificate */
  reload: () => Promise<void>
  /** Takes nothing more, ends streams, and some seconds after all is `answered` breaks off what clients do not close. */
  close: (answered: Promise<void>) => Promise<void>
}

/** Listens on the unix socket and, where configured, on TCP. */
export async function listen (app: FastifyInstance, config: Config): Promise<Listening> {
  await clearStaleSocket(config.socket)
  const connections = connectionsOf(app.server)
  // The directory's mode guards the moment between bind and chmod.
  await app.listen({ path: config.socket })
  await chmod(config.socket, 0o660)
  if (config.listen === undefined) {
    return { address: undefined, reload: async () => {}, close: async (answered) => await close(app.close(), answered, () => connections.destroy()) }
  }
  const { server, reload, closeAll } = await tcpServer(config.tls, { shouldUpgradeCallback }, (request, response) => {
    remote.add(request)
    app.routing(request, response)
  })
  server.on('clientError', clientErrorHandler)
  // WebSockets are taken up by what listens on the first server.
  server.on('upgrade', (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
    remote.add(request)
    app.server.emit('upgrade', request, socket, head)
  })
  const { host, port } = config.listen
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const bound = server.address() as net.AddressInfo
  return {
    address: `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`,
    reload,
    close: async (answered) => {
      const ended = new Promise((resolve) => server.close(resolve))
      await close(Promise.all([ended, app.close()]), answered, () => {
        connections.destroy()
        closeAll()
      })
    }
  }
}

/** Waits for clients to close, and not for ever: one may have sent half a request. What was written last is still on its way through TLS and HTTP/2. */
async function close (closed: Promise<unknown>, answered: Promise<void>, breakOff: () => void): Promise<void> {
  await Promise.race([closed, answered.then(async () => await delay(closeGrace, undefined, { ref: false }))])
  breakOff()
  await closed
}
