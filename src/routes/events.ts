import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type, type Static } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { Filter, type FilterInput } from '../events/filter.ts'
import { Reader, controlFrame, type Form, type Hub } from '../events/hub.ts'
import type { Journal } from '../events/journal.ts'
import { Event, EventPage, IdParams, ref } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { problems } from './problems.ts'

const Many = (description: string): ReturnType<typeof Type.Optional> => Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { maxItems: 100, description }))

const Query = {
  type: Many('Only events of this type; repeatable'),
  label: Many('Only containers with this label, `key` or `key=value`; repeatable, all must match'),
  from: Type.Optional(Type.String({ maxLength: 128, description: '`now`, `earliest`, the id of an event (strictly after it) or an RFC 3339 time (at or after it)' })),
  lastEventId: Type.Optional(Type.String({ maxLength: 128, description: 'As the header Last-Event-ID, for clients that cannot set it on their first connection' })),
  follow: Type.Optional(Type.Boolean({ default: true, description: 'false: what there is, then the end' })),
  snapshot: Type.Optional(Type.Boolean({ default: false, description: 'Begin with the containers and their position, then everything after it' })),
  ping: Type.Optional(Type.Integer({ minimum: 1, maximum: 3600, description: 'Seconds between `Ping` events that JavaScript can see' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Of a JSON page: how many events at most' })),
  cursor: Type.Optional(Type.String({ maxLength: 128, description: 'Of a JSON page: `nextCursor` of the page before' }))
}
const EventsQuery = Type.Object({ container: Many('Only this container; repeatable'), ...Query }, { additionalProperties: false })
const ContainerEventsQuery = Type.Object(Query, { additionalProperties: false })

type Asked = Omit<Static<typeof EventsQuery>, 'container' | 'type' | 'label'> & FilterInput

type Form3 = Form | 'page'

/** Which of the three forms a request asks for: curl's own Accept streams, unless only what there is was asked for. */
function formOf (request: FastifyRequest): Form3 | undefined {
  const follow = (request.query as Record<string, unknown>).follow
  const accept = (request.headers.accept ?? '*/*').toLowerCase()
  const names = accept.split(',').map((part) => part.split(';')[0]?.trim())
  if (names.includes('text/event-stream')) return 'sse'
  if (names.includes('application/x-ndjson')) return 'ndjson'
  if (names.includes('application/json') && (follow === 'false' || follow === false)) return 'page'
  if (names.includes('*/*') || names.includes('text/*') || names.includes('application/*')) return follow === 'false' || follow === false ? 'page' : 'sse'
  return undefined
}

export type EventRoutesOptions = { journal: Journal, hub: Hub, supervisor: Pick<Supervisor, 'list' | 'containers'>, maxSubscribers: number }

export async function eventRoutes (plain: FastifyInstance, { journal, hub, supervisor, maxSubscribers }: EventRoutesOptions): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  // The plugin decides by the Accept header alone; here `follow` counts too, so the decision is made before it and told in its terms.
  app.addHook('preHandler', async (request) => {
    const form = formOf(request)
    if (form === undefined) throw new LongshoreError('not_acceptable', 'events come as text/event-stream, application/x-ndjson, or (with follow=false) application/json')
    request.headers.accept = { sse: 'text/event-stream', ndjson: 'application/x-ndjson', page: 'application/json' }[form]
  })

  app.addHook('preClose', async () => hub.close('shutdown'))

  const stream = {
    description: 'Events: a stream of Server-Sent Events, of JSON lines, or one page, by Accept',
    content: {
      'text/event-stream': { schema: Type.String({ description: 'Each frame: `id`, `event` (the type) and `data` (an Event as JSON on one line). `Gap`, `Bye`, `Snapshot` and `Ping` have no id' }) },
      'application/x-ndjson': { schema: ref(Event) },
      'application/json': { schema: ref(EventPage) }
    }
  }
  const responses = { 200: stream, ...problems(400, 401, 403, 404, 406, 410, 429, 500, 503) }

  app.get('/events', {
    sse: { kind: 'dual', heartbeat: false },
    schema: { operationId: 'streamEvents', tags: ['events'], summary: 'Everything that happens, in order', querystring: EventsQuery, response: responses }
  }, async (request, reply) => await serve(request, reply, request.query as Asked))

  app.get('/containers/:id/events', {
    sse: { kind: 'dual', heartbeat: false },
    schema: { operationId: 'streamContainerEvents', tags: ['events'], summary: 'Everything that happens to one container', params: IdParams, querystring: ContainerEventsQuery, response: responses }
  }, async (request, reply) => {
    const { id } = request.params
    if (!supervisor.containers.has(id) && !await journal.knows(id)) throw new LongshoreError('container_not_found', `there is no container ${id}, and no event of one is kept`)
    return await serve(request, reply, { ...request.query as Asked, container: [id] })
  })

  async function serve (request: FastifyRequest, reply: FastifyReply, query: Asked): Promise<never> {
    const filter = new Filter(query)
    const accept = request.headers.accept
    const position = await positionOf(request, query)
    if (accept === 'application/json') return await page(query, filter, position) as never
    const form: Form = accept === 'text/event-stream' ? 'sse' : 'ndjson'
    if (form === 'ndjson' && position.gap !== undefined) throw gone(position.gap)
    if (hub.size >= maxSubscribers) throw new LongshoreError('overloaded', `${maxSubscribers} readers are connected, which is the limit`, { extra: { retryAfter: 5 } })
    open(reply, form)
    const sink = reply.raw
    let { after } = position
    if (form === 'sse') {
      // Readers that lost their connection together must not come back together.
      sink.write(`retry: ${1000 + Math.floor(Math.random() * 2000)}\n\n`)
      if (position.gap !== undefined) sink.write(controlFrame('Gap', position.gap))
      if (query.snapshot === true) {
        after = journal.head
        sink.write(controlFrame('Snapshot', { position: `${journal.epoch}:${after}`, containers: supervisor.list() }))
      }
    }
    const reader = new Reader({ after, filter, form, sink, ...(query.follow === false ? { until: journal.head } : {}) })
    if (form === 'sse' && query.ping !== undefined) {
      const timer = setInterval(() => {
        if (!reader.blocked) sink.write(controlFrame('Ping', { timestamp: new Date().toISOString() }))
      }, query.ping * 1000)
      timer.unref()
      sink.on('close', () => clearInterval(timer))
    }
    hub.add(reader)
    return reply as never
  }

  async function page (query: Asked, filter: Filter, position: Position): Promise<Static<typeof EventPage>> {
    if (position.gap !== undefined) throw gone(position.gap)
    const limit = query.limit ?? 100
    const items: string[] = []
    let after = position.after
    let more = true
    while (items.length < limit && more) {
      const entries = await journal.read({ after, limit: 500, ...(filter.container === undefined ? {} : { containerId: filter.container }) })
      more = entries.length === 500
      for (const entry of entries) {
        if (items.length === limit) {
          more = true
          break
        }
        after = entry.seq
        if (filter.matches(entry)) items.push(entry.json)
      }
    }
    return { items: items.map((json) => JSON.parse(json) as Static<typeof Event>), nextCursor: more ? `${journal.epoch}:${after}` : null }
  }

  type Gap = { requested: string, firstAvailable: string, lost: number | null, reason: 'retention' | 'epoch' }
  type Position = { after: number, gap?: Gap }

  /** Where to begin: Last-Event-ID, a page's cursor, then `from`; a page without any begins at the earliest. */
  async function positionOf (request: FastifyRequest, query: Asked): Promise<Position> {
    const header = request.headers['last-event-id']
    const asked = (typeof header === 'string' && header !== '' ? header : undefined) ?? query.lastEventId ?? query.cursor ?? query.from
    if (asked === undefined) return { after: request.headers.accept === 'application/json' || query.follow === false ? journal.first - 1 : journal.head }
    if (asked === 'now') return { after: journal.head }
    if (asked === 'earliest') return { after: journal.first - 1 }
    const id = /^([a-z0-9]{1,32}):(\d{1,16})$/.exec(asked)
    if (id !== null) {
      const [, epoch, text] = id
      const after = Number(text)
      const firstAvailable = `${journal.epoch}:${journal.first}`
      // A sequence that was never reached is another history's too.
      if (epoch !== journal.epoch || after > journal.head) return { after: journal.first - 1, gap: { requested: asked, firstAvailable, lost: null, reason: 'epoch' } }
      if (after + 1 < journal.first) return { after: journal.first - 1, gap: { requested: asked, firstAvailable, lost: journal.first - after - 1, reason: 'retention' } }
      return { after }
    }
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(asked) ? Date.parse(asked) : NaN
    if (Number.isNaN(time)) {
      throw new LongshoreError('bad_request', `${JSON.stringify(asked)} is no position`, { extra: { errors: [{ field: 'from', rule: 'must be now, earliest, the id of an event, or an RFC 3339 time' }] } })
    }
    return { after: Math.max(await journal.before(time), journal.first - 1) }
  }

  function gone (gap: Gap): LongshoreError {
    return new LongshoreError('events_gone', `the events after ${gap.requested} are not all in the journal any more (${gap.reason}); the first one that is there is ${gap.firstAvailable}`)
  }
}

/** Headers go out at once, before there is any event; without chunk framing, so that the same bytes go to every reader. */
function open (reply: FastifyReply, form: Form): void {
  const { raw } = reply
  raw.useChunkedEncodingByDefault = false
  raw.socket?.setTimeout(0)
  raw.socket?.setNoDelay(true)
  if (form === 'sse') {
    reply.header('connection', 'close')
    reply.header('cache-control', 'no-cache, no-transform')
    reply.sse.keepAlive()
    reply.sse.sendHeaders(200)
  } else {
    reply.hijack()
    for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
    raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-cache, no-transform', connection: 'close', 'x-accel-buffering': 'no' })
  }
  raw.flushHeaders()
}
