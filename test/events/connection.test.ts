/** Streams over real sockets, which the daemon takes from its HTTP server. */
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { makeApi, type Api } from '../support/api.ts'
import { event, fill, parse, range, until, type Frame } from './support.ts'

t.setTimeout(600_000)

let api: Api
let path: string
t.before(async () => {
  api = await makeApi()
  path = join(api.directory, 'http.sock')
  await api.app.listen({ path })
})
t.teardown(async () => await api.close())

/** A client that is no more than a socket. */
class Raw {
  readonly socket: net.Socket
  text = ''
  ended = false

  constructor (query: string, headers: Record<string, string> = {}, more = '') {
    this.socket = net.connect(path)
    this.socket.setEncoding('utf8')
    this.socket.on('data', (text: string) => { this.text += text })
    this.socket.on('end', () => { this.ended = true })
    this.socket.on('error', () => {})
    const lines = Object.entries({ host: 'localhost', accept: 'text/event-stream', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    this.socket.write(`GET ${query} HTTP/1.1\r\n${lines.join('')}\r\n${more}`)
  }

  get head (): string {
    return this.text.split('\r\n\r\n')[0] ?? ''
  }

  get frames (): Frame[] {
    return parse(this.text.slice(this.head.length + 4))
  }

  get sequence (): number[] {
    return this.frames.filter(({ id, data }) => id !== undefined && data !== undefined).map(({ id }) => Number(id?.split(':')[1]))
  }

  async open (): Promise<this> {
    await until(() => this.frames.some(({ id }) => id !== undefined), 'the first cursor')
    return this
  }
}

const connections = async (): Promise<number> => await new Promise((resolve, reject) => {
  api.app.server.getConnections((error, count) => { if (error === null) resolve(count); else reject(error) })
})

const descriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length

t.test('headers come at once, with a cursor; the server keeps nothing of the connection, and its end leaves nothing', async (t) => {
  const before = await descriptors()
  const { head } = api.journal
  const reader = await new Raw('/events', { 'x-request-id': 'mine' }).open()
  for (const line of ['HTTP/1.1 200 OK', 'content-type: text/event-stream', 'cache-control: no-cache, no-transform', 'x-accel-buffering: no', 'x-request-id: mine', 'connection: close']) {
    t.ok(reader.head.split('\r\n').includes(line), line)
  }
  t.match(reader.head, /\r\ndate: \w{3}, /)
  t.notMatch(reader.head, /chunked|content-length/i)
  t.match(reader.frames, [{ retry: /^\d{4}$/ }, { id: `${api.journal.epoch}:${head}`, data: undefined }])
  t.equal(await connections(), 0, 'the server has no connection')
  await fill(api.journal, 3)
  await until(() => reader.sequence.length === 3)
  t.same(reader.sequence, range(head + 1, head + 3))
  t.equal(api.hub.size, 1)
  reader.socket.destroy()
  await until(() => api.hub.size === 0)
  // The client's own goes with its `close`.
  await until(async () => await descriptors() <= before, 'no descriptor is left')
})

t.test('a reader that takes nothing for a while: the others are not held up, and it gets all of it, once', async (t) => {
  const { head } = api.journal
  const [quick, slow] = [await new Raw('/events').open(), await new Raw('/events').open()]
  slow.socket.pause()
  const label = 'x'.repeat(2000)
  for (let round = 0; round < 40; round++) await fill(api.journal, 50, () => event({ labels: { label } }))
  const last = head + 2000
  await until(() => quick.text.includes(`id: ${api.journal.epoch}:${last}\n`))
  t.ok(api.hub.lag.events > 0, 'the other one is behind')
  slow.socket.resume()
  const ids = (text: string): number[] => [...text.matchAll(/^id: [0-9a-f]+:(\d+)\nevent/gm)].map(([, seq]) => Number(seq))
  await until(() => slow.text.includes(`id: ${api.journal.epoch}:${last}\n`))
  t.same(ids(slow.text), range(head + 1, last))
  t.same(ids(quick.text), range(head + 1, last))
  await until(() => api.hub.lag.events === 0)
  await fill(api.journal, 1)
  await until(() => ids(slow.text).at(-1) === last + 1 && ids(quick.text).at(-1) === last + 1, 'both are at the head again')
  for (const { socket } of [quick, slow]) socket.destroy()
  await until(() => api.hub.size === 0)
})

t.test('cut anywhere, a reader that comes back with the last id it has seen whole misses nothing and gets nothing twice', async (t) => {
  const { epoch, head } = api.journal
  await fill(api.journal, 4, (n) => event({ labels: { n: `ü${n}` } }))
  const whole = await new Raw(`/events?from=${epoch}:${head}&follow=false`).open()
  await until(() => whole.ended)
  t.same(whole.sequence, range(head + 1, head + 4))
  const body = Buffer.from(whole.text.slice(whole.head.length + 4))
  let wrong = 0
  for (let cut = 0; cut <= body.length; cut += 5) {
    // As a client reads it: frames that are not complete are dropped, and the last id stands.
    const seen = parse(body.subarray(0, cut).toString('latin1').replace(/[^\n]*$/, '').replace(/(^|\n\n)(?:[^\n]+\n)*[^\n]*$/, '$1').replace(/[^\x20-\x7e\n]/g, '?'))
    const last = seen.filter(({ id }) => id !== undefined).at(-1)?.id ?? `${epoch}:${head}`
    const again = await new Raw('/events?follow=false', { 'last-event-id': last }).open()
    await until(() => again.ended)
    const got = [...seen.filter(({ data }) => data !== undefined && true).map(({ id }) => Number(id?.split(':')[1])), ...again.sequence]
    if (JSON.stringify(got) !== JSON.stringify(range(head + 1, head + 4))) wrong++
  }
  t.equal(wrong, 0, `cut at ${Math.ceil(body.length / 5)} places`)
})

t.test('filters keep readers apart: by container, type, label and reason; a bad one is refused while there is a status for it', async (t) => {
  const exit = { status: 137, signal: 'SIGKILL', oomKilled: true, reason: 'oom' as const, exitedAt: new Date().toISOString(), outputComplete: true }
  const queries = ['container=a', 'container=a&container=b', 'type=StateExit', 'label=app', 'label=app=web', 'reason=oom', 'reason=exited', 'container=c&reason=oom']
  const readers = await Promise.all(queries.map(async (query) => await new Raw(`/events?${query}`).open()))
  const { head } = api.journal
  await api.journal.append(event({ containerId: 'a', labels: { app: 'web' } }))
  await api.journal.append(event({ containerId: 'b', labels: { app: 'db' } }))
  await api.journal.append(event({ containerId: 'c', type: 'StateExit', runId: 'run-c', processId: 'init', exit }))
  const all = await new Raw(`/events?from=${api.journal.epoch}:${head}&follow=false`).open()
  await until(() => all.sequence.length === 3)
  const expected = [[1], [1, 2], [3], [1, 2], [1], [3], [], [3]].map((seqs) => seqs.map((seq) => head + seq))
  await until(() => readers.every(({ sequence }, index) => sequence.length >= (expected[index]?.length ?? 0)))
  t.same(readers.map(({ sequence }) => sequence), expected)
  for (const { socket } of readers) socket.destroy()
  for (const query of ['type=Nothing', 'reason=boredom', 'container=%20', 'label=%3Dx', 'from=yesterday', 'ping=0', 'container=']) {
    t.equal((await api.app.inject({ url: `/events?${query}`, headers: { accept: 'text/event-stream' } })).statusCode, 400, query)
  }
  await until(() => api.hub.size === 0)
})

t.test('a snapshot of many containers comes in parts of one moment; then everything after it, and no cursor before its end', async (t) => {
  const list = api.supervisor.list.bind(api.supervisor)
  const names = range(1, 600).map((n) => `c${n}`)
  api.supervisor.list = () => names.map((id) => ({ id, labels: {}, text: 'y'.repeat(400) }) as never)
  t.teardown(() => { api.supervisor.list = list })
  const { head, epoch } = api.journal
  const reader = new Raw('/events?snapshot=true')
  // In the middle of it.
  await until(() => api.hub.size === 1)
  api.supervisor.list = () => []
  await fill(api.journal, 2)
  await until(() => reader.sequence.length === 2)
  const frames = reader.frames.filter(({ retry }) => retry === undefined)
  t.same(frames.map(({ event }) => event), ['Snapshot', 'Snapshot', 'Snapshot', undefined, 'StateUpdate', 'StateUpdate'])
  t.ok(frames.slice(0, 3).every(({ id, data }) => id === undefined && data.position === `${epoch}:${head}`))
  t.same(frames.slice(0, 3).map(({ data }) => data.more), [true, true, false])
  t.same(frames.slice(0, 3).flatMap(({ data }) => data.containers.map(({ id }: { id: string }) => id)), names)
  t.same(frames[3]?.id, `${epoch}:${head}`)
  t.same(reader.sequence, [head + 1, head + 2])
  reader.socket.destroy()
  const empty = await new Raw('/events?snapshot=true').open()
  t.match(empty.frames.filter(({ event }) => event === 'Snapshot'), [{ data: { containers: [], more: false } }])
  empty.socket.destroy()
  await until(() => api.hub.size === 0)
})

t.test('where the connection cannot be taken over, the response does', async (t) => {
  await fill(api.journal, 2)
  const { head, epoch } = api.journal
  const injected = await api.app.inject({ url: `/events?from=${epoch}:${head - 1}&follow=false`, headers: { accept: 'text/event-stream' } })
  t.match(injected.body, new RegExp(`^retry: \\d+\n\nid: ${epoch}:${head - 1}\n\nid: ${epoch}:${head}\nevent: `))
  const lines = new Raw(`/events?from=${epoch}:${head - 1}&follow=false`, { accept: 'application/x-ndjson' })
  await until(() => lines.text.endsWith('\r\n0\r\n\r\n'), 'chunks to the end')
  t.match(lines.text, `{"id":"${epoch}:${head}"`)
  lines.socket.destroy()
  // The second request is there before the first one has been answered.
  const both = new Raw('/healthz', {}, 'GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n')
  await until(() => both.text.includes(`id: ${epoch}:${head}\n\n`))
  await fill(api.journal, 1)
  await until(() => both.text.includes(`id: ${epoch}:${head + 1}\nevent`))
  both.socket.destroy()
  await until(() => api.hub.size === 0)
})

t.test('gaps are told in the stream, and as 410 elsewhere', async (t) => {
  const other = 'ffffffffff:12'
  const reader = await new Raw('/events', { 'last-event-id': other }).open()
  t.match(reader.frames.find(({ event }) => event === 'Gap'), { id: undefined, data: { requested: other, lost: null, reason: 'epoch', firstAvailable: `${api.journal.epoch}:1` } })
  await until(() => reader.sequence.at(-1) === api.journal.head, 'the rest comes')
  t.equal(reader.sequence[0], 1)
  reader.socket.destroy()
  for (const [url, accept] of [[`/events?from=${other}`, 'application/x-ndjson'], [`/events?from=${other}&follow=false`, 'application/json'], [`/events?from=${other}&follow=false`, 'text/event-stream']] as const) {
    const { statusCode, headers, body } = await api.app.inject({ url, headers: { accept } })
    t.equal(statusCode, 410)
    t.match(headers['content-type'], /^application\/problem\+json/)
    t.match(JSON.parse(body), { code: 'events_gone' })
  }
  await until(() => api.hub.size === 0)
})

t.test('what the streams have done is shown as metrics', async (t) => {
  const { body } = await api.app.inject('/metrics')
  t.match(body, /^longshore_event_gaps_total\{reason="epoch"\} 4$/m)
  t.match(body, /^longshore_event_lag_events 0$/m)
  t.match(body, /^longshore_event_publish_seconds_bucket\{le="\+Inf"\} [1-9]\d*$/m)
  t.match(body, /^longshore_event_publish_seconds_count [1-9]\d*$/m)
  t.match(body, /^longshore_event_bytes_total [1-9]\d{6,}$/m)
  t.match(body, /^longshore_event_subscribers 0$/m)
})

t.test('a stop says so to all, spreads their return, and waits for nobody', async (t) => {
  const readers = await Promise.all(range(1, 220).map(async () => await new Raw('/events').open()))
  const stuck = readers[0]
  stuck?.socket.pause()
  await api.app.close()
  const rest = readers.slice(1)
  await until(() => rest.every(({ ended }) => ended))
  t.ok(rest.every(({ frames }) => frames.at(-1)?.event === 'Bye' && frames.at(-1)?.data.reason === 'shutdown'))
  const waits = rest.map(({ frames }) => Number(frames.at(-2)?.retry))
  t.ok(Math.max(...waits) - Math.min(...waits) > 1000, 'they do not come back together')
  stuck?.socket.destroy()
  for (const { socket } of rest) if (!socket.destroyed) await Promise.race([once(socket, 'close'), new Promise((resolve) => { socket.destroy(); setImmediate(resolve) })])
})
