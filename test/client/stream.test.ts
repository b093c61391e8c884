import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { Client, ProblemError, SseParser, type Message, type StreamItem } from '../../src/client/index.ts'

/** What the client's parser makes of bytes cut at these places. */
function parsed (bytes: Uint8Array, cuts: number[]): { messages: Message[], parser: SseParser } {
  const parser = new SseParser()
  const decoder = new TextDecoder()
  const messages: Message[] = []
  const places = [0, ...new Set(cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b))]
  places.forEach((place, index) => messages.push(...parser.push(decoder.decode(bytes.subarray(place, places[index + 1]), { stream: true }))))
  return { messages, parser }
}

const line = fc.oneof(
  fc.constantFrom('data', 'data:', 'data: ', 'data:  x', 'data:y:z', 'event: StateExit', 'event:', 'event', 'id: k3v9:1', 'id:', 'id', 'id: a\0b', 'retry: 10', 'retry: 1x', 'retry:', ':comment', ':', 'unknown: x', ' data: x', 'data : x', '', '', ''),
  fc.string({ unit: fc.constantFrom('d', ':', ' ', 'é', '😀', '\0', '\u2028', '\ufeff') }).map((text) => `data: ${text}`)
)
const streams = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 40 }).map((lines) => lines.map((parts) => parts.join('')).join(''))

t.test('the parser reads what a standard one reads, cut at every byte', async (t) => {
  fc.assert(fc.property(streams, fc.boolean(), fc.array(fc.nat()), (text, bom, cuts) => {
    const expected: EventSourceMessage[] = []
    createParser({ onEvent: (one) => expected.push(one) }).feed(text)
    const bytes = Buffer.from((bom ? '\ufeff' : '') + text)
    const whole = parsed(bytes, [])
    if (JSON.stringify(whole.messages.map(({ event, data }) => [event, data])) !== JSON.stringify(expected.map(({ event, data }) => [event ?? 'message', data]))) return false
    return [cuts, Array.from(bytes.keys())].every((places) => {
      const cut = parsed(bytes, places)
      return JSON.stringify(cut.messages) === JSON.stringify(whole.messages) && cut.parser.lastEventId === whole.parser.lastEventId && cut.parser.retry === whole.parser.retry
    })
  }), { numRuns: 300 })
  const { messages, parser } = parsed(Buffer.from('id: 1\ndata: a\n\nid: 2\n\nid: 3\ndata: never ended\n'), [])
  t.same(messages, [{ id: '1', event: 'message', data: 'a' }])
  t.equal(parser.lastEventId, '2', 'a bookmark moves it, a message without its end does not')
  const lazy = new SseParser()
  t.match(lazy.push('id: 1\ndata: a\n\nid: 2\ndata: b\n\n').next(), { value: { data: 'a' } })
  t.equal(lazy.lastEventId, '1', 'never ahead of who takes')
})

/** A server whose answers a test writes; what it was asked. */
async function serve (t: Tap, answer: (request: http.IncomingMessage, response: http.ServerResponse, count: number) => void): Promise<{ client: Client, asked: http.IncomingMessage[] }> {
  const asked: http.IncomingMessage[] = []
  const server = http.createServer((request, response) => {
    asked.push(request)
    answer(request, response, asked.length)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { client: new Client({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'secret' }), asked }
}
type Tap = { teardown: (end: () => void) => void }

const sse = { 'content-type': 'text/event-stream' }
const frame = (seq: number): string => `id: e:${seq}\nevent: StateExit\ndata: {"id":"e:${seq}"}\n\n`
const backoff = { initial: 1, max: 5 }

t.test('a stream goes on over ends, breaks, refusals that pass and silence', async (t) => {
  const disconnects: unknown[] = []
  const { client, asked } = await serve(t, (_, response, count) => {
    switch (count) {
      case 1: return response.writeHead(200, sse).end(`retry: 1\n\n${frame(1)}${frame(2)}id: e:3\nevent: StateExit\ndata: {"id":`)
      case 2: return response.writeHead(200, sse).write(frame(3), () => response.destroy())
      case 3: return response.writeHead(503, { 'retry-after': '0' }).end()
      case 4: return response.writeHead(429).end()
      case 5: return response.destroy()
      case 6: return response.writeHead(200, sse).write(`id: e:9\n\nevent: Gap\ndata: {"lost":2}\n\n${frame(10)}`)
      default: return response.writeHead(200, sse).write(frame(11))
    }
  })
  const stream = client.events({ filters: { container: ['a', 'b'], label: ['x=y'] }, from: 'earliest', backoff, silence: 3000, onDisconnect: (error) => disconnects.push(error) })
  const items: StreamItem[] = []
  for await (const item of stream) {
    items.push(item)
    if (items.length === 6) break
  }
  t.same(items.map((item) => ('id' in item ? item.id : item.type)), ['e:1', 'e:2', 'e:3', 'Gap', 'e:10', 'e:11'])
  t.same(asked.map(({ headers }) => headers['last-event-id']), [undefined, 'e:2', 'e:3', 'e:3', 'e:3', 'e:3', 'e:10'])
  t.equal(asked[0]?.url, '/events?container=a&container=b&label=x%3Dy&from=earliest')
  t.match(asked[0]?.headers, { accept: 'text/event-stream', authorization: 'Bearer secret' })
  t.equal(disconnects.length, 6)
  t.equal(stream.lastEventId, 'e:11')
})

t.test('what would be the same again ends it', async (t) => {
  const answers: ((response: http.ServerResponse) => void)[] = [
    (response) => response.writeHead(401, { 'content-type': 'application/problem+json' }).end('{"code":"unauthorized","detail":"send a token","status":401}'),
    (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Log in</p>'),
    (response) => response.writeHead(404).end('nothing')
  ]
  const { client, asked } = await serve(t, (_, response, count) => answers[count - 1]?.(response))
  const first = async (): Promise<unknown> => await client.events({ backoff })[Symbol.asyncIterator]().next()
  await t.rejects(first(), { name: 'ProblemError', status: 401, code: 'unauthorized', message: 'send a token' })
  await t.rejects(first(), { message: /event stream/ })
  await t.rejects(first(), { status: 404, code: undefined })
  t.equal(asked.length, 3)
  const aborted = AbortSignal.abort(new Error('enough'))
  await t.rejects(client.events({ signal: aborted })[Symbol.asyncIterator]().next(), { message: 'enough' })
  t.equal(asked.length, 3)
})

t.test('an abort ends the iteration wherever it is, and leaving it ends the connection', async (t) => {
  const closed: Promise<unknown>[] = []
  const { client } = await serve(t, (request, response, count) => {
    closed.push(once(response, 'close'))
    if (count === 3) response.destroy()
    else response.writeHead(200, sse).write(frame(1))
  })
  const left = client.events()[Symbol.asyncIterator]()
  await left.next()
  await left.return?.(undefined)
  await closed[0]
  const reading = new AbortController()
  await t.rejects(async () => {
    for await (const item of client.events({ signal: reading.signal })) if (item.type === 'StateExit') setImmediate(() => reading.abort(new Error('enough')))
  }, { message: 'enough' })
  await closed[1]
  const waiting = new AbortController()
  await t.rejects(async () => {
    for await (const item of client.events({ signal: waiting.signal, backoff: { initial: 3_600_000 }, onDisconnect: () => setImmediate(() => waiting.abort(new Error('enough'))) })) t.fail(item.type)
  }, { message: 'enough' })
})

t.test('it reads no further than who iterates, and drops nothing', async (t) => {
  const count = 40_000
  const padding = 'x'.repeat(1000)
  let written = 0
  const { client } = await serve(t, (_, response) => {
    response.writeHead(200, sse)
    const write = (): void => {
      while (written < count) {
        written++
        if (!response.write(`id: e:${written}\ndata: {"id":"e:${written}","padding":"${padding}"}\n\n`)) return
      }
      response.end()
    }
    response.on('drain', write)
    write()
  })
  const iterator = client.events({ reconnect: false })[Symbol.asyncIterator]()
  t.match(await iterator.next(), { value: { id: 'e:1' } })
  // Long enough for a client that reads ahead to have taken the 40 MB; one that does not leaves them with the server.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.ok(written < count / 2, `${written} of ${count} written while one was taken`)
  let next = 2
  for (let result = await iterator.next(); result.done !== true; result = await iterator.next()) {
    if ((result.value as { id: string }).id !== `e:${next}`) t.fail(`${JSON.stringify(result.value).slice(0, 40)} instead of e:${next}`)
    next++
  }
  t.equal(next, count + 1)
})

t.test('an error is typed', async (t) => {
  const { client } = await serve(t, (_, response) => response.writeHead(409, { 'content-type': 'application/problem+json', 'retry-after': '3' }).end('{"code":"container_exists","detail":"there is one","status":409}'))
  const error = await client.createContainer({ body: { bundle: '/x' } }).then(() => undefined, (error: unknown) => error)
  t.ok(error instanceof ProblemError)
  t.match(error, { status: 409, code: 'container_exists', retryAfter: 3, problem: { detail: 'there is one' } })
})
