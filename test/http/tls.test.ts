import t from 'tap'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile } from 'node:fs/promises'
import http2 from 'node:http2'
import https from 'node:https'
import type http from 'node:http'
import { join } from 'node:path'
import tls from 'node:tls'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'
import { Daemon, project, trap } from '../support/daemon.ts'
import { firstToken, tcpAddress } from '../support/tcp.ts'

const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', name)
const daemon = await Daemon.prepare()
t.teardown(async () => await daemon.destroy())
const [cert, key] = [join(daemon.directory, 'tls.crt'), join(daemon.directory, 'tls.key')]
const use = async (name: string): Promise<void> => {
  await copyFile(fixture(`${name}.crt`), cert)
  await copyFile(fixture(`${name}.key`), key)
}
await use('one')
await daemon.launch(['--listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key])
const url = `https://${tcpAddress(daemon)}`
const authorization = `Bearer ${firstToken(daemon)}`
const ca = await Promise.all(['one.crt', 'two.crt'].map(async (name) => await readFile(fixture(name))))
const bundle = await daemon.bundle('trap', trap(0))

/** A request on an HTTP/2 connection; its text grows while it lasts. */
async function ask (session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders, body?: string): Promise<{ headers: http2.IncomingHttpHeaders, stream: http2.ClientHttp2Stream, has: (text: string) => Promise<void>, text: () => string }> {
  const stream = session.request(headers)
  stream.setEncoding('utf8')
  stream.on('error', () => {})
  let text = ''
  let look = (): void => {}
  stream.on('data', (chunk: string) => { text += chunk; look() })
  stream.end(body)
  const [answered] = await once(stream, 'response') as [http2.IncomingHttpHeaders]
  return { headers: answered, stream, text: () => text, has: async (wanted) => await new Promise((resolve) => { look = () => { if (text.includes(wanted)) resolve() }; look() }) }
}

t.test('HTTP/2: requests and several streams on one connection; no headers that are for HTTP/1 only', async (t) => {
  const session = http2.connect(url, { ca })
  t.teardown(() => session.destroy())
  await once(session, 'connect')
  t.equal(session.alpnProtocol, 'h2')
  t.match((await ask(session, { ':path': '/version' })).headers, { ':status': 401, 'content-type': /problem\+json/ })
  const login = await ask(session, { ':path': '/session', ':method': 'POST', 'content-type': 'application/json', origin: url }, JSON.stringify({ token: firstToken(daemon) }))
  t.equal(login.headers[':status'], 201)
  const [given = ''] = login.headers['set-cookie'] ?? []
  t.match(given, /^__Host-longshore_session=[\w-]+;.* Secure/)
  const cookie = given.split(';')[0]
  const streams = await Promise.all([
    ask(session, { ':path': '/events', accept: 'text/event-stream', cookie }),
    ask(session, { ':path': '/events', accept: 'text/event-stream', authorization }),
    ask(session, { ':path': '/events', accept: 'application/x-ndjson', authorization })
  ])
  for (const { headers } of streams) {
    t.match(headers, { ':status': 200, 'x-accel-buffering': 'no' })
    for (const name of ['connection', 'transfer-encoding', 'keep-alive', 'content-encoding']) t.notOk(headers[name], name)
  }
  const created = await ask(session, { ':path': '/containers', ':method': 'POST', 'content-type': 'application/json', cookie, origin: url }, JSON.stringify({ id: 'two', bundle, start: false }))
  t.equal(created.headers[':status'], 201)
  await Promise.all(streams.map(async ({ has }) => await has('"StateCreate"')))
  t.match(streams[0]?.text(), /id: \w+:1\nevent: StateCreate\ndata: \{/)
  const closed = once(streams[0]?.stream ?? session, 'close')
  t.equal((await ask(session, { ':path': '/session', ':method': 'DELETE', cookie, origin: url })).headers[':status'], 204)
  await closed
  await ask(session, { ':path': '/containers/two', ':method': 'DELETE', authorization })
  await streams[1]?.has('"StateDelete"')
  t.notOk(daemon.output.includes('Warning'), 'Node.js has nothing to complain of')
})

t.test('HTTP/2: a wait that is given up leaves nothing behind, though its connection goes on', async (t) => {
  const session = http2.connect(url, { ca })
  t.teardown(() => session.destroy())
  await daemon.post('/containers', { id: 'waited', bundle, start: false })
  const waits = async (count: number): Promise<void> => {
    while (!new RegExp(`^longshore_waits ${count}$`, 'm').test((await daemon.get('/metrics')).text)) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const stream = session.request({ ':path': '/containers/waited/wait', authorization })
  stream.on('error', () => {})
  await waits(1)
  stream.close(http2.constants.NGHTTP2_CANCEL)
  await waits(0)
  t.equal((await ask(session, { ':path': '/containers/waited', authorization })).headers[':status'], 200)
  await daemon.delete('/containers/waited')
})

t.test('HTTP/1.1, for clients that know no other', async (t) => {
  const request = https.get(`${url}/events`, { ca, agent: false, headers: { accept: 'text/event-stream', authorization } })
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  t.equal(response.httpVersion, '1.1')
  t.match(response.headers, { 'content-type': 'text/event-stream', connection: 'close' })
  response.setEncoding('utf8')
  response.on('error', () => {})
  const told = new Promise<void>((resolve) => {
    let text = ''
    response.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('"StateCreate"')) resolve()
    })
  })
  await daemon.post('/containers', { id: 'one', bundle, start: false })
  await told
  request.destroy()
  const upgrade = async (headers: Record<string, string>): Promise<number | undefined> => {
    const socket = new WebSocket(`${url.replace('https', 'wss')}/containers/none/attach`, { ca, headers })
    socket.on('error', () => {})
    const [, refused] = await once(socket, 'unexpected-response') as [unknown, http.IncomingMessage]
    socket.terminate()
    return refused.statusCode
  }
  t.equal(await upgrade({ authorization, origin: url }), 404, 'a WebSocket handshake is looked at like any request')
  t.equal(await upgrade({ authorization, origin: 'https://evil.example' }), 403)
  t.equal(await upgrade({ origin: url }), 401)
})

t.test('SIGHUP takes up a new certificate, and not a broken one; what is connected stays', async (t) => {
  const { hostname, port } = new URL(url)
  const subject = async (): Promise<string> => {
    const socket = tls.connect({ host: hostname, port: Number(port), ca })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return String(CN)
  }
  const logged = async (text: string): Promise<void> => { while (!daemon.output.includes(text)) await new Promise((resolve) => daemon.child?.stdout?.once('data', resolve)) }
  const session = http2.connect(url, { ca })
  t.teardown(() => session.destroy())
  const stream = await ask(session, { ':path': '/events', authorization })
  t.equal(await subject(), 'longshore test one')
  await copyFile(fixture('two.crt'), cert)
  process.kill(daemon.pid, 'SIGHUP')
  await logged('the new certificate cannot be used')
  t.equal(await subject(), 'longshore test one', 'its key is another')
  await use('two')
  process.kill(daemon.pid, 'SIGHUP')
  await logged('the certificate was read anew')
  t.equal(await subject(), 'longshore test two')
  await daemon.delete('/containers/one')
  await stream.has('"StateDelete"')
})

t.test('a slow reader over HTTP/2 holds back its own stream only, and misses nothing', async (t) => {
  const session = http2.connect(url, { ca })
  t.teardown(() => session.destroy())
  const events = 12
  const slow = session.request({ ':path': '/events?from=now', authorization, accept: 'text/event-stream' })
  await once(slow, 'response')
  const quick = await ask(session, { ':path': '/events?from=now', authorization, accept: 'text/event-stream' })
  // 12 times 60 KiB of labels are many windows (64 KiB) that nobody opens for the slow one.
  const labels = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`label-${index}`, 'x'.repeat(4000)]))
  for (let index = 0; index < events; index++) {
    await daemon.post('/containers', { id: `big-${index}`, bundle, start: false, labels })
    await daemon.delete(`/containers/big-${index}`)
  }
  await quick.has(`"containerId":"big-${events - 1}"`)
  let text = ''
  slow.setEncoding('utf8')
  const all = new Promise<void>((resolve) => slow.on('data', (chunk: string) => {
    text += chunk
    if (text.match(/event: StateDelete\n/g)?.length === events) resolve()
  }))
  await all
  t.same([...text.matchAll(/^event: (\w+)$/gm)].map(([, type]) => type), Array.from({ length: events }, () => ['StateCreate', 'StateDelete']).flat())
})

t.test('a stop of the daemon ends HTTP/2 streams with a word', async (t) => {
  const session = http2.connect(url, { ca })
  session.on('error', () => {})
  const stream = await ask(session, { ':path': '/events', authorization })
  const said = stream.has('event: Bye')
  t.equal(await daemon.stop(), 0)
  await said
  session.destroy()
})

t.test('options that do not go together are refused', async (t) => {
  for (const options of [['--tls-cert', cert], ['--tls-cert', cert, '--tls-key', key]]) {
    await t.rejects(promisify(execFile)(join(project, 'bin/longshored'), options), { code: 1, stderr: /tls/ })
  }
})
