import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type, type Static } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { isEventId, type Position } from '../events/cursor.ts'
import type { Form } from '../events/entry.ts'
import { Filter, type FilterInput } from '../events/filter.ts'
import type { Hub } from '../events/hub.ts'
import type { Journal } from '../events/journal.ts'
import { Reader } from '../events/reader.ts'
import { Sockets } from '../events/socket-sink.ts'
import { bookmark, controlFrame, retry } from '../events/sse.ts'
import { grants } from '../http/auth.ts'
import { isGone } from '../http/gone.ts'
import { Event, EventPage, IdParams, reasons, ref, type ContainerView } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { preferred } from './accept.ts'
import { openLines, openStream } from './event-connection.ts'
import { problems } from './problems.ts'

const Many = (description: string): ReturnType<typeof Type.Optional> => Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { maxItems: 100, description }))

const Query = {
  type: Many('Only events of this type; repeatable'),
  label: Many('Only containers with this label, `key` or `key=value`; repeatable, all must match'),
  reason: Many(`Only exits for this reason (${reasons.join(', ')}); repeatable`),
  from: Type.Optional(Type.String({ maxLength: 128, description: '`now`, `earliest`, the id of an event (strictly after it) or an RFC 3339 time (at or after it). By default a stream that follows begins now, and what ends begins at the earliest' })),
  lastEventId: Type.Optional(Type.String({ maxLength: 128, description: 'As the header Last-Event-ID (which wins over it), for clients that cannot set it on their first connection' })),
  follow: Type.Optional(Type.Boolean({ default: true, description: 'false: what there is, then the end' })),
  snapshot: Type.Optional(Type.Boolean({ default: false, description: 'Begin with the containers and their position (in several `Snapshot` events when there are many, `more` is false in the last one), then everything after it. A client that comes back with Last-Event-ID goes on where it was instead' })),
  ping: Type.Optional(Type.Integer({ minimum: 1, maximum: 3600, description: 'Seconds between `Ping` events that JavaScript can see' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Of a JSON page: how many events at most' })),
  cursor: Type.Optional(Type.String({ maxLength: 128, description: 'Of a JSON page: `nextCursor` of the page before' }))
}
const EventsQuery = Type.Object({ container: Many('Only this container; repeatable'), ...Query }, { additionalProperties: false })
const ContainerEventsQuery = Type.Object(Query, { additionalProperties: false })

type Asked = Omit<Static<typeof EventsQuery>, 'container' | 'type' | 'label' | 'reason'> & FilterInput

const mediaTypes = { sse: 'text/event-stream', ndjson: 'application/x-ndjson', page: 'application/json' } as const

const time = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)$/

/** journal reads that one page may cost: a filter that matches next to nothing gives short pages, not slow ones */
const readsForPage = 25
/** so that no frame takes long to make or to read */
const containersInFrame = 250

export type EventRoutesOptions = { journal: Journal, hub: Hub, supervisor: Pick<Supervisor, 'containers' | 'list' | 'listed' | 'restored'>, maxSubscribers: number }

export async function eventRoutes (plain: FastifyInstance, { journal, hub, supervisor, maxSubscribers }: EventRoutesOptions): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  const sockets = new Sockets()

  app.addHook('preClose', async () => await hub.close('shutdown'))

  const stream = {
    description: 'Events: a stream of Server-Sent Events, of JSON lines, or one page, by Accept. What Accept leaves open is a stream, with follow=false a page',
    content: {
      'text/event-stream': { schema: Type.String({ description: 'Each frame: `id`, `event` (the type) and `data` (an Event as JSON on one line). `Gap`, `Bye`, `Snapshot` and `Ping` have no id; an `id` alone moves the cursor of a reader whose filter is quiet' }) },
      'application/x-ndjson': { schema: ref(Event) },
      'application/json': { schema: ref(EventPage) }
    }
  }
  const responses = { 200: stream, ...problems(400, 401, 403, 404, 406, 410, 429, 500, 503) }
  // `manual`: the plugin's own negotiation knows of Accept only, and here `follow` counts too. The hub has the heartbeat.
  const options = { sse: { kind: 'manual', heartbeat: false }, exposeHeadRoute: false } as const

  app.get('/events', {
    ...options,
    schema: { operationId: 'streamEvents', tags: ['events'], summary: 'Everything that happens, in order', querystring: EventsQuery, response: responses }
  }, async (request, reply) => await serve(request, reply, request.query as Asked))

  app.get('/containers/:id/events', {
    ...options,
    schema: { operationId: 'streamContainerEvents', tags: ['events'], summary: 'Everything that happens to one container', params: IdParams, querystring: ContainerEventsQuery, response: responses }
  }, async (request, reply) => {
    const { id } = request.params
    if (!supervisor.containers.has(id) && !await journal.knows(id)) throw new LongshoreError('container_not_found', `there is no container ${id}, and no event of one is kept`)
    return await serve(request, reply, { ...request.query as Asked, container: [id] })
  })

  /** Everything that can be refused is refused here, while there is still a status to do it with. */
  async function serve (request: FastifyRequest, reply: FastifyReply, query: Asked): Promise<never> {
    const form = formOf(request.headers.accept, query)
    const filter = new Filter(query, grants.get(request)?.labels)
    const header = request.headers['last-event-id']
    // A snapshot of half of the containers would be none; a refusal would end a browser's EventSource for good. Nothing is waited for behind the look at the position.
    if (query.snapshot === true && !supervisor.listed) await supervisor.restored
    const resumed = typeof header === 'string' && header !== '' ? header : undefined
    const position = await positionOf(query, resumed, form === 'page' || query.follow === false)
    // What comes back by itself is told in the stream, since a refusal would end it for good; who asked for an end can be refused.
    if ((form !== 'sse' || query.follow === false) && position.gap !== undefined) {
      const { requested, firstAvailable, reason } = position.gap
      hub.stats.gap(reason)
      throw new LongshoreError('events_gone', `the events after ${requested} are not all in the journal (${reason}); the first one that is there is ${firstAvailable}`)
    }
    if (form === 'page') {
      reply.type('application/json')
      return await page(query, filter, position.after) as never
    }
    const { ping, follow } = query
    if (hub.size >= maxSubscribers) throw new LongshoreError('too_many_requests', `${maxSubscribers} readers are connected, which is the limit`, { extra: { retryAfter: 5 } })
    const { gap } = position
    let { after } = position
    let preface: Iterator<string> | undefined
    let first = retry()
    if (gap !== undefined) {
      first += controlFrame('Gap', gap)
      hub.stats.gap(gap.reason)
    }
    if (query.snapshot === true && (resumed === undefined || gap !== undefined)) {
      // State and journal change in one turn, so what is read in one turn belongs together; it may be sent in several.
      after = journal.head
      const containers = supervisor.list().filter(({ id, labels }) => filter.concerns({ containerId: id, labels }))
      preface = snapshot(journal.positionId(after), containers)
    } else {
      // With a cursor from the first moment on, a reader that is cut off before its first event misses none.
      first += bookmark(journal.positionId(after))
    }
    // One that left meanwhile tells of it no more.
    if (isGone(reply)) {
      reply.hijack()
      return undefined as never
    }
    const sink = form === 'sse' ? openStream(request, reply, sockets, first) : openLines(request, reply)
    hub.add(new Reader({
      after, filter, form, sink,
      ...(follow === false ? { until: Math.max(after, journal.head) } : {}),
      ...(ping === undefined ? {} : { ping }),
      ...(preface === undefined ? {} : { preface })
    }))
    return undefined as never
  }

  /** A JSON page, as text: the journal has the events as JSON already. */
  async function page (query: Asked, filter: Filter, from: number): Promise<string> {
    const limit = query.limit ?? 100
    const items: string[] = []
    const { epoch } = journal
    let after = from
    for (let reads = 0; items.length < limit && after < journal.head && reads < readsForPage; reads++) {
      const { entries, reached } = await journal.read({ after, limit: limit - items.length, filter: filter.query })
      if (journal.epoch !== epoch) throw new LongshoreError('events_gone', 'a new history of events began while they were read')
      if (after < journal.first - 1) throw new LongshoreError('events_gone', `the events after ${journal.positionId(after)} went out of the journal while they were read`)
      items.push(...entries.map(({ json }) => json))
      // The rest cannot be written to the database now.
      if (reached <= after) break
      after = reached
    }
    return `{"items":[${items.join(',')}],"nextCursor":${after < journal.head ? `"${journal.positionId(after)}"` : 'null'}}`
  }

  /** Last-Event-ID, `lastEventId`, a page's cursor, then `from`. */
  async function positionOf (query: Asked, resumed: string | undefined, ends: boolean): Promise<Position> {
    const id = resumed ?? (query.lastEventId === '' ? undefined : query.lastEventId)
    if (id !== undefined) {
      if (!isEventId(id)) throw refused(resumed === undefined ? 'lastEventId' : 'Last-Event-ID', 'must be the id of an event')
      return journal.locate(id)
    }
    const { cursor, from = ends ? 'earliest' : 'now' } = query
    if (cursor !== undefined) {
      if (!isEventId(cursor)) throw new LongshoreError('invalid_cursor', 'the cursor is not one that this daemon gave')
      return journal.locate(cursor)
    }
    if (from === 'now') return { after: journal.head }
    if (from === 'earliest') return { after: journal.first - 1 }
    if (isEventId(from)) return journal.locate(from)
    // An unencoded + comes as a space.
    const [, moment = '', zone = ''] = time.exec(from.toUpperCase().replace(' ', '+')) ?? []
    const milliseconds = Date.parse(moment + zone)
    if (Number.isNaN(milliseconds)) throw refused('from', 'must be now, earliest, the id of an event, or an RFC 3339 time')
    return { after: Math.max(await journal.before(milliseconds), journal.first - 1) }
  }
}

/** Which form a request gets; throws what does not fit together. */
function formOf (accept: string | undefined, { follow, snapshot, ping }: Asked): Form | 'page' {
  const { sse, ndjson, page } = mediaTypes
  const offered = follow === undefined ? [sse, ndjson, page] : follow ? [sse, ndjson] : [page, sse, ndjson]
  const type = preferred(accept, offered)
  if (type === undefined) throw new LongshoreError('not_acceptable', `events come as ${sse}, ${ndjson}, or (without follow=true) ${page}`)
  if (type === sse) return 'sse'
  if (snapshot === true) throw refused('snapshot', `needs Accept: ${sse}`)
  if (ping !== undefined) throw refused('ping', `needs Accept: ${sse}`)
  return type === ndjson ? 'ndjson' : 'page'
}

function refused (field: string, rule: string): LongshoreError {
  return new LongshoreError('bad_request', `${field} ${rule}`, { extra: { errors: [{ field, rule }] } })
}

/** The containers in as many frames as it takes, all of one moment; only behind the last one the cursor moves. */
function * snapshot (position: string, containers: ContainerView[]): Generator<string> {
  let at = 0
  do {
    const part = containers.slice(at, at += containersInFrame)
    yield controlFrame('Snapshot', { position, containers: part, more: at < containers.length })
  } while (at < containers.length)
  yield bookmark(position)
}
