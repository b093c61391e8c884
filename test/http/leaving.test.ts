/** Connections whose clients leave early, stay too long, or ask for what they do not get. */
import t from 'tap'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http2 from 'node:http2'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import { loadConfig } from '../../src/config.ts'
import { answerWait } from '../../src/routes/wait.ts'
import type { Container } from '../../src/runtime/container.ts'
import { listen } from '../../src/server.ts'
import { Task } from '../../src/supervisor/task.ts'
import { makeApi, type Api } from '../support/api.ts'

const directory = await mkdtemp(join(tmpdir(), 'longshore-leaving-'))
t.teardown(async () => await rm(directory, { recursive: true }))
let serial = 0
const newSocket = (): string => join(directory, `${serial++}.sock`)

/** What a connection has been sent; `ended` when the other side has closed it. */
function talk (path: string | net.NetConnectOpts): { socket: net.Socket, text: () => string, has: (text: string) => Promise<void>, ended: Promise<unknown> } {
  const socket = net.connect(path as net.NetConnectOpts)
  let text = ''
  let look = (): void => {}
  socket.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; look() }).on('error', () => {})
  return { socket, text: () => text, has: async (wanted) => await new Promise((resolve) => { look = () => { if (text.includes(wanted)) resolve() }; look() }), ended: new Promise((resolve) => socket.once('close', resolve)) }
}

const upgrade = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`

async function listening (args: string[] = []): Promise<{ api: Api, path: string, address: string, close: (answered?: Promise<void>) => Promise<void> }> {
  const path = newSocket()
  const api = await makeApi(args)
  const { address = '', close } = await listen(api.app, loadConfig(['--root', api.directory, '--socket', path, ...args], '0.0.0'))
  return { api, path, address, close: async (answered = Promise.resolve()) => await close(answered) }
}

/** Holds the lane of a container. */
class Held extends Task<void> {
  readonly kind = 'signal'
  readonly #until: Promise<void>
  constructor (until: Promise<void>) {
    super('one')
    this.#until = until
  }

  async execute (): Promise<void> { await this.#until }
}

t.test('a wait whose client has left before it began is over at once', async (t) => {
  const api = await makeApi()
  t.teardown(async () => await api.close())
  api.supervisor.containers.set('one', { id: 'one', view: () => ({ runId: 'r', processes: [{ id: 'init', exit: null }] }), run: { runId: 'r' }, onChange: () => () => {}, flush: async () => {} } as unknown as Container)
  /** `leave` is called when the request has come in; what becomes of the wait is given when the close has been told. */
  const waited = async (app: FastifyInstance, ask: () => Promise<() => void>): Promise<unknown> => {
    let over: (result: Promise<unknown>) => void = () => {}
    const result = new Promise((resolve) => { over = resolve })
    let leave = (): void => {}
    app.get('/wait', async (request, reply) => {
      const closed = once(reply.raw, 'close')
      leave()
      await closed
      const wait = answerWait(api.supervisor, { containerId: 'one' }, undefined, request, reply)
      over(wait)
      return await wait
    })
    const path = newSocket()
    await app.listen({ path })
    t.teardown(async () => await app.close())
    leave = await ask()
    return await result
  }
  const http1 = Fastify()
  t.equal(await waited(http1, async () => {
    const { socket } = talk(String(http1.server.address()))
    socket.write('GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n')
    return () => socket.destroy()
  }), undefined)
  const two = Fastify({ http2: true }) as unknown as FastifyInstance
  t.equal(await waited(two, async () => {
    const session = http2.connect('http://localhost', { createConnection: () => net.connect(String(two.server.address())) })
    t.teardown(() => session.destroy())
    const stream = session.request({ ':path': '/wait' })
    stream.on('error', () => {})
    return () => stream.close(http2.constants.NGHTTP2_CANCEL)
  }), undefined, 'also when its connection goes on')
  t.equal(api.supervisor.waits.size, 0)
})

t.test('an upgrade that is refused closes its connection, whoever refuses it', async (t) => {
  const { api, path, address, close } = await listening(['--listen', '127.0.0.1:0'])
  t.teardown(async () => { await close(); await api.close() })
  for (const [where, to] of [['the unix socket', { path }], ['TCP', { host: '127.0.0.1', port: Number(address.split(':')[1]) }]] as const) {
    for (const [resource, status] of [['/containers/%zz/attach', 400], [`/containers/${'x'.repeat(3000)}/attach`, 400], ['/containers/none/attach', where === 'TCP' ? 401 : 404]] as const) {
      const client = talk(to)
      client.socket.write(upgrade(resource))
      await client.ended
      t.match(client.text(), new RegExp(`^HTTP/1.1 ${status} `), `${resource.slice(0, 30)} over ${where}`)
    }
  }
})

t.test('while it closes: what is under way is answered, what comes is refused as a problem, and no connection keeps it', async (t) => {
  const { api, path, close } = await listening()
  t.teardown(async () => await api.close())
  const accepted: net.Socket[] = []
  api.app.server.on('connection', (socket: net.Socket) => accepted.push(socket))
  let release = (): void => {}
  const held = new Held(new Promise((resolve) => { release = resolve }))
  api.supervisor.begin(held)
  const busy = talk(path)
  busy.socket.write('POST /containers/one/signal HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"signal":"TERM"}')
  // Half a request each: nothing closes those but their clients, or the daemon.
  const late = talk(path)
  const [first, ...rest] = upgrade('/containers/one/attach').split('\r\n')
  late.socket.write(`${first}\r\n`)
  const silent = talk(path)
  silent.socket.write('GET /ver')
  while (api.supervisor.queued === 0 || accepted.length < 3 || accepted.some(({ bytesRead }) => bytesRead === 0)) await new Promise((resolve) => setTimeout(resolve, 5))
  const closed = close(held.done)
  late.socket.write(rest.join('\r\n'))
  await late.ended
  t.match(late.text(), /^HTTP\/1.1 503 [^]*"code":"not_ready"/, 'an upgrade, whose connection is closed')
  busy.socket.write('GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n')
  release()
  await busy.has('HTTP/1.1 404')
  await busy.has('HTTP/1.1 503')
  t.match(busy.text(), /^HTTP\/1.1 404 [^]*"code":"container_not_found"[^]*HTTP\/1.1 503 [^]*application\/problem\+json[^]*"code":"not_ready"/)
  await closed
  await silent.ended
  t.pass('who has sent half a request is not waited for')
})
