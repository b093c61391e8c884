import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { LongshoreError } from '../errors.ts'
import { labelsMatch } from '../events/labels.ts'
import { cookieOf } from './cookies.ts'
import { Failures } from './failures.ts'
import { logOf } from './log.ts'
import { OpenRequests, type Carrier, type Grant, type OpenRequest } from './open-requests.ts'
import { checkOrigin, type OriginOptions } from './origin.ts'
import type { Session, Sessions } from './sessions.ts'
import { hash, type Scope, type Token, type Tokens } from './tokens.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** the scope that a route needs, where its method alone would say something else; `anyone` asks for no token */
    access?: Scope | 'anyone'
  }
}

/** Grants of TCP requests; one that came over the unix socket has none, and may do all. */
export const grants = new WeakMap<FastifyRequest, Grant>()

const open = new WeakMap<FastifyRequest, OpenRequest>()

/** To be told when the answer to a request leaves the connection that it came over: what it goes out on must end when the token does. */
export function carryOn (request: FastifyRequest, carrier: Carrier): void {
  open.get(request)?.move(carrier)
}

/** To be asked to refuse a request that has no answer yet, when what allowed it is withdrawn: its client then hears why. */
export function refuseBy (request: FastifyRequest, refuse: (error: LongshoreError) => void): void {
  const one = open.get(request)
  if (one !== undefined) one.refuse = refuse
}

/** The cookie of a session. Over TLS the browser itself sees to it that nothing but this host, over TLS, can have set it. */
export const cookieNames = { plain: 'longshore_session', tls: '__Host-longshore_session' } as const

/** milliseconds between looks at whether open streams are still allowed */
const sweepMs = 1000

/** operate: all but create and exec; read: only GET, and HEAD where it is. */
function needs (request: FastifyRequest): Scope | 'anyone' {
  const { url = '', config } = request.routeOptions
  if (config.access !== undefined) return config.access
  if (request.method === 'GET' || request.method === 'HEAD') return 'read'
  if (request.method === 'POST' && (url === '/containers' || url === '/containers/:id/processes')) return 'admin'
  return 'operate'
}

const rank: Record<Scope, number> = { read: 0, operate: 1, admin: 2 }

export type GuardOptions = OriginOptions & {
  tokens: Tokens
  sessions: Sessions
  labelsOf: (containerId: string) => Record<string, string> | undefined
}

/** Who may ask: over TCP a token or a session, an allowed Host and, where there is one, an allowed Origin, on every method. */
export class Guard {
  readonly #options: GuardOptions
  readonly #failures = new Failures()
  readonly #open = new OpenRequests()

  constructor (app: FastifyInstance, options: GuardOptions) {
    this.#options = options
    const { labelsOf } = options
    app.addHook('onRequest', (request, reply, done) => {
      try {
        checkOrigin(request, options)
      } catch (error) {
        done(error as Error)
        return
      }
      if (options.remote(request)) admit(request, reply).then(() => done(), done)
      else done()
    })
    const admit = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const needed = needs(request)
      if (needed === 'anyone') return
      const grant = await this.#grant(request)
      if (rank[grant.scope] < rank[needed]) throw new LongshoreError('forbidden', `this needs a token of scope ${needed}; ${grant.name} has ${grant.scope}`)
      grants.set(request, grant)
      const one = this.#open.add(carrierOf(reply), grant, containerOf(request))
      open.set(request, one)
      reply.raw.once('close', () => { if (!one.moved) this.#open.delete(one) })
    }
    app.addHook('preHandler', (request, _reply, done) => {
      const selector = grants.get(request)?.labels
      const id = containerOf(request)
      done(selector !== undefined && id !== undefined && !selected(selector, labelsOf(id) ?? {}) ? hidden(id) : undefined)
    })
    const timer = setInterval(() => {
      if (this.#open.size > 0) options.tokens.refresh().then(() => this.sweep(), () => {})
    }, sweepMs)
    timer.unref()
    app.addHook('onClose', async () => clearInterval(timer))
  }

  /** The token that a request shows; throws unauthorized, or too_many_requests when many from there were wrong lately. */
  async checkToken (request: FastifyRequest, given: string | undefined): Promise<Token> {
    const { tokens } = this.#options
    if (given === undefined) throw unauthorized()
    const address = request.raw.socket.remoteAddress ?? ''
    const credential = hash(given)
    const wait = this.#failures.wait(address, credential)
    if (wait > 0) throw new LongshoreError('too_many_requests', 'too many wrong tokens came from this address', { extra: { retryAfter: wait } })
    await tokens.refresh()
    const token = tokens.findByHash(credential)
    if (token === undefined) {
      this.#failures.failed(address)
      logOf(request).warn({ address, url: request.url.split('?')[0] }, 'a wrong token')
      throw unauthorized()
    }
    this.#failures.succeeded(address, credential)
    return token
  }

  /** The session of a request's cookie, if it has a good one. Ids are too long to be guessed, so wrong ones are not counted. */
  async session (request: FastifyRequest): Promise<{ session: Session, token: Token } | undefined> {
    const { cookie } = request.headers
    const id = cookieOf(cookie, cookieNames.tls) ?? cookieOf(cookie, cookieNames.plain)
    if (id === undefined) return undefined
    await this.#options.tokens.refresh()
    return this.#options.sessions.find(id)
  }

  /** Ends the streams and waits that are allowed no longer: their token is withdrawn or means less, or their container's labels are others now. */
  sweep (): void {
    const { tokens, sessions, labelsOf } = this.#options
    // Thousands of streams may hang on a few tokens.
    const known = new Map<string, Token | undefined>()
    this.#open.sweep(({ grant: { token, session, scope, labels }, containerId }) => {
      const key = session?.hash ?? token
      if (!known.has(key)) known.set(key, session === undefined ? tokens.findByHash(token) : sessions.findByHash(key)?.token)
      const now = known.get(key)
      if (now === undefined || now.scope !== scope || !isDeepStrictEqual(now.labels, labels)) return unauthorized()
      // Of one that has gone the end is still to be told.
      const present = labels === undefined || containerId === undefined ? undefined : labelsOf(containerId)
      return present === undefined || labels === undefined || selected(labels, present) ? undefined : hidden(containerId)
    })
  }

  /** A token in the header goes before a cookie: who sends it means it. */
  async #grant (request: FastifyRequest): Promise<Grant> {
    const { authorization } = request.headers
    if (authorization === undefined) {
      const found = await this.session(request)
      if (found !== undefined) return grantOf(found.token, found.session)
    }
    return grantOf(await this.checkToken(request, bearer(authorization)))
  }
}

/** The container in a request's path. */
function containerOf (request: FastifyRequest): string | undefined {
  return request.routeOptions.url?.startsWith('/containers/') === true ? (request.params as { id?: string } | undefined)?.id : undefined
}

/** One that the token does not cover looks like one that does not exist. */
function hidden (id: string | undefined): LongshoreError {
  return new LongshoreError('container_not_found', `there is no container ${id}`)
}

function unauthorized (): LongshoreError {
  return new LongshoreError('unauthorized', 'send a valid token as `Authorization: Bearer …`, or begin a session with POST /session')
}

/** The token of an Authorization header (RFC 6750). */
export function bearer (authorization: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
}

export function grantOf ({ name, scope, labels, hash: token }: Token, session?: Session): Grant {
  return { name, scope, labels, token, ...(session === undefined ? {} : { session: { hash: session.hash, createdAt: session.createdAt, expiresAt: session.expiresAt } }) }
}

/** What the answer goes out on. */
export function carrierOf (reply: FastifyReply): Carrier {
  const raw = reply.raw as typeof reply.raw & { stream?: Carrier }
  return raw.stream ?? reply.request.raw.socket
}

/** True when labels have all that a token's selector asks for. */
export function selected (selector: Record<string, string>, labels: Record<string, string>): boolean {
  return labelsMatch(Object.entries(selector).map(([key, value]) => ({ key, value })), labels)
}
