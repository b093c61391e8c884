import { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { bookmark, controlFrame, heartbeat, retry } from '../events/sse.ts'
import { whenGone } from '../http/gone.ts'
import { logOf } from '../http/log.ts'
import type { LogRecord } from '../runtime/log-format.ts'
import { endingAt, endOf, streamLog, type LogEnd, type LogSource } from '../runtime/log-stream.ts'
import { segmentStarts } from '../runtime/log-segments.ts'
import { placeOfTail, type Place } from '../runtime/log-tail.ts'
import { turn } from '../runtime/log-turns.ts'
import { IdParams, LogsQuery, LostRecord, OutputRecord, ProcessParams, ref } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { preferred } from './accept.ts'
import { Frames, Lines, Text, type Form } from './logs-forms.ts'
import { chooseLog, type ChosenLog } from './output.ts'
import { parseMoment } from './moment.ts'
import { problems } from './problems.ts'
import type { Readers } from './readers.ts'

const mediaTypes = { text: 'text/plain', ndjson: 'application/x-ndjson', sse: 'text/event-stream' } as const
type MediaType = typeof mediaTypes[keyof typeof mediaTypes]

/** milliseconds that a slice of rendering may take before others have their turn */
const sliceLimit = 1.5

/** seconds that a reader has to take what was written when the daemon stops */
const leaveGrace = 1

/** an id as readers are given it; a bare number is an offset in the run that was asked for */
const position = /^(?:([0-9a-f]{20}):)?(\d{1,15})$/

export type LogRoutesOptions = {
  supervisor: Supervisor
  /** seconds between heartbeats of an SSE stream */
  heartbeatSeconds: number
  readers: Readers
}

/** What a process wrote, as text, JSON lines or Server-Sent Events. */
export async function logRoutes (plain: FastifyInstance, { supervisor, heartbeatSeconds, readers }: LogRoutesOptions): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const leaving = new AbortController()

  app.addHook('preClose', async () => leaving.abort())

  const response = {
    200: {
      description: 'The output, in the order in which it was read from the process; by Accept as text, JSON lines or Server-Sent Events',
      content: {
        'text/plain': { schema: Type.String({ description: 'The bytes as they are. What is missing is told in a line of its own, `[longshore: …]`' }) },
        'application/x-ndjson': { schema: Type.Union([ref(OutputRecord), ref(LostRecord)]) },
        'text/event-stream': { schema: Type.String({ description: 'Frames with `id` (for Last-Event-ID) and an OutputRecord as `data`; `Lost` has a LostRecord; `End` tells that there will be no more, `Bye` that the daemon stops' }) }
      }
    },
    ...problems(400, 401, 403, 404, 406, 409, 429, 500, 503)
  }

  app.get('/containers/:id/logs', {
    schema: { operationId: 'containerLogs', tags: ['containers'], summary: "The output of a container's first process", params: IdParams, querystring: LogsQuery, response }
  }, async (request, reply) => await serve(request, reply, request.params.id, 'init', request.query))

  app.get('/containers/:id/processes/:pid/logs', {
    schema: { operationId: 'processLogs', tags: ['processes'], summary: 'The output of a process', params: ProcessParams, querystring: LogsQuery, response }
  }, async (request, reply) => await serve(request, reply, request.params.id, request.params.pid, request.query))

  /** Everything that can be refused is refused here, while there is still a status to do it with. */
  async function serve (request: FastifyRequest, reply: FastifyReply, id: string, processId: string, query: LogsQuery): Promise<never> {
    const type = preferred(request.headers.accept, [mediaTypes.text, mediaTypes.ndjson, mediaTypes.sse])
    if (type === undefined) throw new LongshoreError('not_acceptable', `output comes as ${Object.values(mediaTypes).join(', ')}`)
    const gone = new AbortController()
    whenGone(reply, () => gone.abort())
    const until = query.until === undefined ? undefined : parseMoment('until', query.until)
    const keep = filterOf(query, until)
    const resumed = resumption(request, query)
    const chosen = await chooseLog(supervisor, id, processId, resumed?.runId ?? query.runId, resumed?.runId !== undefined)
    const release = readers.take()
    try {
      const end = await endOf(chosen.source)
      const from = await begin(chosen.source, query, chosen.lost ? undefined : resumed?.offset, end, keep)
      open(reply, type)
      await send(reply, type, chosen, from, end, { ...query, keep, until, resumed: resumed !== undefined }, gone.signal)
    } catch (error) {
      if (!reply.raw.headersSent) throw error
      // A stream that is cut off is not mistaken for one that is complete.
      logOf(request).error({ err: error, container: id, process: processId }, 'the output could not be read to its end')
      reply.raw.destroy()
    } finally {
      release()
    }
    return undefined as never
  }

  type Sent = Omit<LogsQuery, 'until'> & { keep: (record: LogRecord) => boolean, until: bigint | undefined, resumed: boolean }

  async function send (reply: FastifyReply, type: MediaType, chosen: ChosenLog, from: Place, end: LogEnd, query: Sent, gone: AbortSignal): Promise<void> {
    const { raw } = reply
    const { runId } = chosen
    const form: Form = type === mediaTypes.text ? new Text(query.timestamps ?? false) : type === mediaTypes.ndjson ? new Lines(runId) : new Frames(runId)
    const sse = type === mediaTypes.sse
    let reached = from.offset
    let told = from.offset
    if (sse) raw.write(retry() + (chosen.lost ? '' : bookmark(`${runId}:${reached}`)))
    if (chosen.lost) {
      const lost = { type: 'lost', id: `${runId}:${reached}`, offset: reached, bytes: null, reason: 'run' }
      if (sse) raw.write(`id: ${lost.id}\n${controlFrame('Lost', lost)}`)
      else raw.write(type === mediaTypes.ndjson ? `${JSON.stringify(lost)}\n` : '[longshore: the output of the run that was asked for is not kept any more]\n')
    }
    const beat = !sse
      ? undefined
      : setInterval(() => {
        if (raw.writableNeedDrain) return
        // A filter that lets nothing through moves the reader's cursor all the same.
        raw.write(reached === told ? heartbeat : bookmark(`${runId}:${reached}`))
        told = reached
      }, heartbeatSeconds * 1000)
    const deadline = query.follow === true ? alarm(query.until) : undefined
    const source = deadline === undefined ? chosen.source : endingAt(chosen.source, deadline.passed, deadline.passing)
    const signal = AbortSignal.any([gone, leaving.signal])
    // One that does not read must not keep the daemon from stopping.
    const leave = (): void => { setTimeout(() => raw.destroy(), leaveGrace * 1000).unref() }
    leaving.signal.addEventListener('abort', leave, { once: true })
    raw.once('close', () => leaving.signal.removeEventListener('abort', leave))
    try {
      for await (const records of streamLog(source, from, { until: end, follow: query.follow ?? false, signal })) {
        for (let next = 0; next < records.length;) {
          await turn()
          const began = performance.now()
          let any = false
          do {
            const record = records[next++]
            if (record === undefined || !query.keep(record)) continue
            form.add(record)
            any = true
          } while (next < records.length && performance.now() - began < sliceLimit)
          reached = records[next - 1]?.next ?? reached
          if (!any) continue
          told = reached
          await written(raw, form.take())
          if (signal.aborted) break
        }
      }
    } finally {
      clearInterval(beat)
      deadline?.stop()
    }
    if (gone.aborted) return
    if (leaving.signal.aborted) {
      if (sse) raw.end(controlFrame('Bye', { reason: 'shutdown' }))
      else raw.destroy()
      return
    }
    if (sse) raw.write(`id: ${runId}:${reached}\n${controlFrame('End', { runId, offset: reached })}`)
    raw.end()
  }
}

/** Where to begin: at a position that a reader had, at the last lines, or at the first that there is. */
async function begin (source: LogSource, query: LogsQuery, resumed: number | undefined, { end }: LogEnd, keep: (record: LogRecord) => boolean): Promise<Place> {
  if (resumed !== undefined) return { offset: Math.min(resumed, end), skip: 0 }
  const { tail = 'all' } = query
  if (tail === 'all') return { offset: (await segmentStarts(source.directory))[0] ?? 0, skip: 0 }
  return await placeOfTail(source.directory, end, Number(tail), keep)
}

function resumption (request: FastifyRequest, query: LogsQuery): { runId: string | undefined, offset: number } | undefined {
  const header = request.headers['last-event-id']
  const given = typeof header === 'string' && header !== '' ? header : query.lastEventId
  if (given === undefined || given === '') return undefined
  const [whole, runId, offset] = position.exec(given) ?? []
  if (whole === undefined) {
    const field = given === header ? 'Last-Event-ID' : 'lastEventId'
    throw new LongshoreError('bad_request', `${field} must be an id that a reader of this output was given`, { extra: { errors: [{ field, rule: 'must be an id that a reader of this output was given' }] } })
  }
  return { runId, offset: Number(offset) }
}

/** Output of the chosen streams between the times; what was lost belongs to every stream. */
function filterOf (query: LogsQuery, until: bigint | undefined): (record: LogRecord) => boolean {
  const streams = new Set((query.stream ?? ['stdout', 'stderr']).flatMap((text) => text.split(',')))
  const since = query.since === undefined ? undefined : parseMoment('since', query.since)
  return (record) => {
    if (record.timeNs !== undefined && ((since !== undefined && record.timeNs < since) || (until !== undefined && record.timeNs > until))) return false
    return record.kind === 'lost' || streams.has(record.stream)
  }
}

/** Headers go out at once, before there is any output. */
function open (reply: FastifyReply, type: MediaType): void {
  const { raw } = reply
  // The connection of an HTTP/2 request is not its own to set.
  if (raw.socket instanceof Socket && reply.request.raw.httpVersionMajor === 1) raw.socket.setTimeout(0).setKeepAlive(true, 15_000).setNoDelay(true)
  reply.header('content-type', type === mediaTypes.text ? `${type}; charset=utf-8` : type)
  reply.header('cache-control', 'no-cache, no-transform')
  reply.header('x-accel-buffering', 'no')
  // Output is whatever the container likes to write: no browser is to take it for a page.
  reply.header('x-content-type-options', 'nosniff')
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
  reply.hijack()
  raw.writeHead(200)
  raw.flushHeaders()
}

/** Resolves when the kernel has taken all of it, so that its memory may be used again, or nobody is there to take it. */
async function written (raw: FastifyReply['raw'], data: Buffer | string): Promise<void> {
  if (raw.destroyed) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      raw.removeListener('close', done)
      resolve()
    }
    raw.once('close', done)
    raw.write(data, done)
  })
}

/** Rings at a time in nanoseconds since 1970; undefined for no time. */
function alarm (timeNs: bigint | undefined): { passed: () => boolean, passing: Promise<void>, stop: () => void } | undefined {
  if (timeNs === undefined) return undefined
  const time = Number(timeNs / 1_000_000n) + 1
  const passed = (): boolean => Date.now() >= time
  let timer: NodeJS.Timeout
  const passing = new Promise<void>((resolve) => {
    // A timer has 31 bits, so a far time takes several.
    const wait = (): void => { timer = setTimeout(() => { if (passed()) resolve(); else wait() }, Math.min(Math.max(time - Date.now(), 0), 0x7fffffff)) }
    wait()
  })
  return { passed, passing, stop: () => clearTimeout(timer) }
}
