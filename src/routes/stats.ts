import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { labelQuery, labelsMatch } from '../events/labels.ts'
import { retry } from '../events/sse.ts'
import { grants, selected } from '../http/auth.ts'
import { isGone, whenGone } from '../http/gone.ts'
import { logOf } from '../http/log.ts'
import type { Container } from '../runtime/container.ts'
import { creationKey } from '../runtime/containers.ts'
import { sampled, samplesAtOnce, type Sample, type Sampler } from '../runtime/sampler.ts'
import { IdParams, Page, Stats, StatsList, ref, statuses } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { preferred } from './accept.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'
import { StatsStream, mediaTypes, streamsAtMost, type Form } from './stats-stream.ts'

const Interval = {
  interval: Type.Optional(Type.Number({ minimum: 0.1, maximum: 3600, description: 'Seconds between the samples of a stream (1 when absent). Of JSON: two samples are taken, so far apart (60 at most), and the second is the answer, with a `cpu.percent` over that time' }))
}
const Filters = {
  status: Type.Optional(Type.Array(Type.Enum([...statuses]), { maxItems: 8, description: 'Only these; repeatable' })),
  label: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { maxItems: 64, description: '`key` or `key=value`; repeatable, all must match' }))
}
const tags = ['containers']
/** milliseconds for which a single sample is shared by those who ask */
const sharedMs = 100
/** seconds that a request for JSON may be made to wait for its second sample */
const longestWait = 60

type Asked = { interval?: number }

/** What containers use: one sample, or a stream of them. */
export async function statsRoutes (plain: FastifyInstance, { supervisor, sampler }: { supervisor: Supervisor, sampler: Sampler }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const streams = new Set<StatsStream>()
  app.addHook('preClose', async () => { for (const stream of streams) stream.end('shutdown') })

  const content = (json: object): object => ({
    description: 'One sample as JSON, or a stream of samples, by Accept',
    content: {
      'application/json': { schema: json },
      'text/event-stream': { schema: Type.String({ description: 'Each frame: `event: Stats` and `data` (a Stats as JSON on one line). `Bye` with a `reason` is the last one' }) },
      'application/x-ndjson': { schema: ref(Stats) }
    }
  })

  app.get('/containers/:id/stats', {
    schema: {
      operationId: 'getContainerStats', tags, summary: 'What a container uses', params: IdParams, querystring: Type.Object(Interval, { additionalProperties: false }),
      response: { 200: content(ref(Stats)), ...problems(400, 401, 403, 404, 406, 409, 429, 500, 503) }
    }
  }, async (request, reply) => {
    const { id } = request.params
    const query = request.query as Asked
    const form = formOf(request, query)
    const container = supervisor.find(id)
    const { run } = container
    if (!sampled(container)) throw notRunning(id)
    if (form !== 'json') return begin(reply, { form, query, pick: () => (sampled(container) && container.run === run ? [container] : []), until: () => ended(container, run) })
    const [sample] = await twice(reply, query, async () => await sampler.sample([container], sharedMs))
    if (sample === undefined) throw notRunning(id)
    return json(reply, sample.json)
  })

  app.get('/stats', {
    schema: {
      operationId: 'listStats', tags, summary: 'What all containers that have processes use; a stream goes over all of them in each interval',
      querystring: Type.Object({ ...Filters, ...Page, ...Interval }, { additionalProperties: false }),
      response: { 200: content(ref(StatsList)), ...problems(400, 401, 403, 406, 429, 500, 503) }
    }
  }, async (request, reply) => {
    const { status, label, limit, cursor } = request.query as { status?: string[], label?: string[], limit?: number, cursor?: string }
    const query = request.query as Asked
    const wanted = (label ?? []).map(labelQuery)
    const selector = grants.get(request)?.labels
    const pick = (): Container[] => [...supervisor.containers.values()].filter((container) => sampled(container) && (status === undefined || status.includes(container.status)) &&
      labelsMatch(wanted, container.labels) && (selector === undefined || selected(selector, container.labels)))
    const form = formOf(request, query)
    if (form !== 'json') return begin(reply, { form, query, pick })
    const page = paginate(pick(), { key: creationKey }, limit, cursor)
    const samples = await twice(reply, query, async () => {
      const all: (Sample | undefined)[] = []
      for (let from = 0; from < page.items.length; from += samplesAtOnce) {
        all.push(...await sampler.sample(page.items.slice(from, from + samplesAtOnce), sharedMs))
        await turn()
      }
      return all
    })
    // One that ended meanwhile has no sample, and does not fail the rest.
    return json(reply, `{"items":[${samples.flatMap((sample) => (sample === undefined ? [] : [sample.json])).join(',')}],"nextCursor":${JSON.stringify(page.nextCursor)}}`)
  })

  function begin (reply: FastifyReply, options: { form: Form, query: Asked, pick: () => Container[], until?: () => string | undefined }): never {
    if (streams.size >= streamsAtMost) throw new LongshoreError('too_many_requests', `${streamsAtMost} streams of statistics are open, which is the limit`, { extra: { retryAfter: 5 } })
    const { form, query, pick, until } = options
    // One that left while its token was looked up tells of it no more.
    if (isGone(reply)) {
      reply.hijack()
      return undefined as never
    }
    const stream = new StatsStream({ sampler, form, intervalMs: (query.interval ?? 1) * 1000, pick, until: until ?? (() => undefined), sink: reply.raw, log: logOf(reply.request), preface: form === 'sse' ? retry() : '' })
    streams.add(stream)
    reply.raw.once('close', () => streams.delete(stream))
    stream.open(reply.getHeaders())
    reply.hijack()
    return undefined as never
  }
}

function notRunning (id: string): LongshoreError {
  return new LongshoreError('container_not_running', `container ${id} has no processes, so there is nothing to measure`)
}

/** Why there will be no more samples of a run. */
function ended (container: Container, run: Container['run']): string | undefined {
  return container.run !== run || !sampled(container) ? 'stopped' : undefined
}

/** The sample texts are JSON already. */
function json (reply: FastifyReply, text: string): never {
  void reply.type('application/json; charset=utf-8').serializer((body: unknown) => body as string)
  return text as never
}

function formOf (request: FastifyRequest, { interval }: Asked): Form | 'json' {
  const type = preferred(request.headers.accept, [mediaTypes.json, mediaTypes.sse, mediaTypes.ndjson])
  if (type === undefined) throw new LongshoreError('not_acceptable', `statistics come as ${mediaTypes.json}, ${mediaTypes.sse} or ${mediaTypes.ndjson}`)
  if (type === mediaTypes.sse) return 'sse'
  if (type === mediaTypes.ndjson) return 'ndjson'
  if (interval !== undefined && interval > longestWait) {
    const rule = `must be ${longestWait} at most, unless a stream is asked for`
    throw new LongshoreError('bad_request', `interval ${rule}`, { extra: { errors: [{ field: 'interval', rule }] } })
  }
  return 'json'
}

/** Reads once, or with an interval once more after it. */
async function twice<T> (reply: FastifyReply, { interval }: Asked, read: () => Promise<T>): Promise<T> {
  const first = await read()
  if (interval === undefined) return first
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => { stay(); resolve() }, interval * 1000)
    const stay = whenGone(reply, () => { clearTimeout(timer); resolve() })
  })
  return await read()
}
