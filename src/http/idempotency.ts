import { createHash } from 'node:crypto'
import { mkdir, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { LongshoreError } from '../errors.ts'
import { readIfThere, writeWhole } from '../runtime/files.ts'
import { grants } from './auth.ts'
import { logOf } from './log.ts'

const keptMs = 24 * 3600 * 1000
const sweepMs = 3600 * 1000
const keyPattern = /^[\x21-\x7e]{1,255}$/

type Kept = { fingerprint: string, status: number, headers: Record<string, string>, body: string, at: number }

const handled = new WeakMap<FastifyRequest, { name: string, fingerprint: string }>()

/** What a file says; undefined for none, and for one that is damaged: it is written anew. */
function keptIn (text: string | undefined): Kept | undefined {
  try {
    const kept = JSON.parse(text ?? 'null') as Partial<Kept> | null
    return typeof kept?.fingerprint === 'string' && typeof kept.status === 'number' && typeof kept.body === 'string' && typeof kept.at === 'number' ? kept as Kept : undefined
  } catch {
    return undefined
  }
}

function digest (...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/**
 * `Idempotency-Key` on every POST: the same key and request within 24 h get the first answer again, over restarts too.
 * Answers of 5xx and 429 are not kept: they say nothing final. One small file for each key.
 */
export async function idempotency (app: FastifyInstance, options: { directory: string }): Promise<void> {
  const { directory } = options
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const underWay = new Set<string>()

  const sweep = async (): Promise<void> => {
    for (const name of await readdir(directory)) {
      const path = join(directory, name)
      if (Date.now() - (await stat(path)).mtimeMs > keptMs) await unlink(path)
    }
  }
  const timer = setInterval(() => { sweep().catch((error: unknown) => app.log.warn({ err: error }, 'old answers could not be removed')) }, sweepMs)
  timer.unref()
  app.addHook('onClose', async () => clearInterval(timer))

  app.addHook('preHandler', (request, reply, done) => {
    const key = request.headers['idempotency-key']
    // Who has shown no token has no answers of their own, and may not fill the disk with them.
    if (request.method !== 'POST' || key === undefined || request.routeOptions.config.access === 'anyone') done()
    else recall(request, reply, key).then((answered) => { if (!answered) done() }, done)
  })

  /** True when the answer that was kept was given. */
  const recall = async (request: FastifyRequest, reply: FastifyReply, key: string | string[]): Promise<boolean> => {
    if (typeof key !== 'string' || !keyPattern.test(key)) {
      throw new LongshoreError('bad_request', 'Idempotency-Key must be 1 to 255 printable characters', { extra: { errors: [{ field: 'Idempotency-Key', rule: 'must be 1 to 255 printable characters' }] } })
    }
    // The answer is for who asked: the holder of the same token, by header or by cookie.
    const name = digest(key, grants.get(request)?.token ?? '')
    const fingerprint = digest(request.method, request.url, JSON.stringify(request.body ?? null))
    if (underWay.has(name)) throw new LongshoreError('request_in_progress', 'the first request with this Idempotency-Key has no answer yet', { extra: { retryAfter: 1 } })
    underWay.add(name)
    const kept = await readIfThere(join(directory, name)).then(keptIn, (error: unknown) => { underWay.delete(name); throw error })
    if (kept === undefined || Date.now() - kept.at > keptMs) {
      handled.set(request, { name, fingerprint })
      return false
    }
    underWay.delete(name)
    if (kept.fingerprint !== fingerprint) throw new LongshoreError('idempotency_key_reused', 'this Idempotency-Key was used with another request in the last 24 h')
    reply.code(kept.status).headers({ ...kept.headers, 'idempotency-replayed': 'true' }).serializer(String)
    await reply.send(kept.body)
    return true
  }

  app.addHook('onSend', (request, reply, payload, done) => {
    const mine = handled.get(request)
    if (mine === undefined) done(null, payload)
    else keep(mine, request, reply, payload).then(() => done(null, payload), done)
  })

  const keep = async (mine: { name: string, fingerprint: string }, request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<void> => {
    handled.delete(request)
    try {
      if (reply.statusCode < 500 && reply.statusCode !== 429) {
        const headers: Record<string, string> = {}
        for (const header of ['content-type', 'location', 'preference-applied']) {
          const value = reply.getHeader(header)
          if (value !== undefined) headers[header] = String(value)
        }
        const kept: Kept = { fingerprint: mine.fingerprint, status: reply.statusCode, headers, body: typeof payload === 'string' ? payload : '', at: Date.now() }
        await writeWhole(join(directory, mine.name), JSON.stringify(kept))
      }
    } catch (error) {
      logOf(request).error({ err: error }, 'the answer could not be kept for its Idempotency-Key')
    } finally {
      underWay.delete(mine.name)
    }
  }
}
