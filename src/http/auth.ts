import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LongshoreError, hasCode } from '../errors.ts'
import { labelsMatch } from '../events/filter.ts'
import { writeWhole } from '../runtime/files.ts'

export type Scope = 'read' | 'operate' | 'admin'

type StoredToken = { id: string, name: string, scope: Scope, hash?: string, token?: string, createdAt: string, labels?: Record<string, string> }
export type Grant = { name: string, scope: Scope, labels: Record<string, string> | undefined }

const scopes = new Set<string>(['read', 'operate', 'admin'])
/** failed logins at once, and how many a second come back */
const failureBurst = 20
const failureRate = 1

function hash (token: string): string {
  return `sha256:${createHash('sha256').update(token).digest('hex')}`
}

/** The tokens of TCP clients: a file with their hashes, read again when it changes. */
export class Tokens {
  readonly #path: string
  readonly #announce: (token: string) => void
  #modified = -1
  #tokens: StoredToken[] = []
  #failures = 0
  #failuresAt = Date.now()

  constructor (path: string, announce: (token: string) => void) {
    this.#path = path
    this.#announce = announce
  }

  /** Makes the file with one admin token when there is none; the token itself is told once and never kept. */
  async open (): Promise<void> {
    try {
      await this.#read()
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
      const token = `lsh_${randomBytes(24).toString('base64url')}`
      this.#tokens = [{ id: randomBytes(6).toString('hex'), name: 'first', scope: 'admin', hash: hash(token), createdAt: new Date().toISOString() }]
      await this.#write()
      this.#announce(token)
    }
  }

  /** What a token allows; throws unauthorized, or too_many_requests when many were wrong lately. */
  async check (token: string | undefined): Promise<Grant> {
    this.#refill()
    if (this.#failures >= failureBurst) throw new LongshoreError('too_many_requests', 'too many requests without a valid token', { extra: { retryAfter: 1 / failureRate } })
    await this.#read()
    const given = Buffer.from(hash(token ?? ''))
    let found: StoredToken | undefined
    // All of them, always: the time taken must not tell which one was close.
    for (const stored of this.#tokens) {
      const known = Buffer.from(stored.hash ?? '')
      if (known.length === given.length && timingSafeEqual(known, given)) found = stored
    }
    if (found === undefined || token === undefined) {
      this.#failures++
      throw new LongshoreError('unauthorized', 'send a valid token as `Authorization: Bearer …`')
    }
    return { name: found.name, scope: found.scope, labels: found.labels }
  }

  #refill (): void {
    const now = Date.now()
    this.#failures = Math.max(0, this.#failures - (now - this.#failuresAt) / 1000 * failureRate)
    this.#failuresAt = now
  }

  async #read (): Promise<void> {
    const { mtimeMs } = await stat(this.#path)
    if (mtimeMs === this.#modified) return
    const { tokens } = JSON.parse(await readFile(this.#path, 'utf8')) as { tokens: StoredToken[] }
    if (!Array.isArray(tokens) || !tokens.every(({ scope }) => scopes.has(scope))) throw new Error(`${this.#path}: tokens must be a list, each with a scope of read, operate or admin`)
    this.#tokens = tokens
    this.#modified = mtimeMs
    // Whoever wrote a token in plain words gets it hashed.
    if (tokens.some(({ token }) => token !== undefined)) {
      this.#tokens = tokens.map(({ token, ...rest }) => (token === undefined ? rest : { ...rest, hash: hash(token) }))
      await this.#write()
    }
  }

  async #write (): Promise<void> {
    await writeWhole(this.#path, `${JSON.stringify({ tokens: this.#tokens }, null, 2)}\n`, true)
    this.#modified = (await stat(this.#path)).mtimeMs
  }
}

/** Grants of TCP requests; one that came over the unix socket has none, and may do all. */
export const grants = new WeakMap<FastifyRequest, Grant>()

/** operate: all but create and exec; read: only GET. */
function needs (request: FastifyRequest): Scope {
  if (request.method === 'GET') return 'read'
  const route = request.routeOptions.url ?? ''
  if (request.method === 'POST' && (route === '/containers' || route === '/containers/:id/processes')) return 'admin'
  return 'operate'
}

const rank: Record<Scope, number> = { read: 0, operate: 1, admin: 2 }

export type GuardOptions = {
  tokens: Tokens
  /** true for a request that came over TCP */
  remote: (request: FastifyRequest) => boolean
  allowedHosts: Set<string>
  allowedOrigins: Set<string>
  labelsOf: (containerId: string) => Record<string, string> | undefined
}

/** Who may ask: over TCP a token, an allowed Host and, where there is one, an allowed Origin, on every method. */
export function guard (app: FastifyInstance, options: GuardOptions): void {
  const { tokens, remote, allowedHosts, allowedOrigins, labelsOf } = options
  app.addHook('onRequest', async (request) => {
    const { origin, host, authorization } = request.headers
    if (origin !== undefined && !allowedOrigins.has(origin)) throw new LongshoreError('forbidden_origin', `the origin ${origin} is not allowed; --allowed-origin adds one`)
    if (!remote(request)) return
    const name = (host ?? '').replace(/:\d+$/, '').toLowerCase()
    if (!allowedHosts.has(name)) throw new LongshoreError('forbidden_host', `the host ${name} is not allowed; --allowed-host adds one`)
    const grant = await tokens.check(/^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1])
    grants.set(request, grant)
    const needed = needs(request)
    if (rank[grant.scope] < rank[needed]) throw new LongshoreError('forbidden', `this needs a token of scope ${needed}; ${grant.name} has ${grant.scope}`)
  })
  app.addHook('preHandler', async (request) => {
    const selector = grants.get(request)?.labels
    const id = (request.params as { id?: string } | undefined)?.id
    if (selector === undefined || id === undefined || request.routeOptions.url?.startsWith('/containers/') !== true) return
    // One that the token does not cover looks like one that does not exist.
    if (!selected(selector, labelsOf(id) ?? {})) throw new LongshoreError('container_not_found', `there is no container ${id}`)
  })
}

/** True when labels have all that a token's selector asks for. */
export function selected (selector: Record<string, string>, labels: Record<string, string>): boolean {
  return labelsMatch(Object.entries(selector).map(([key, value]) => ({ key, value })), labels)
}
