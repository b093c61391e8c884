/** Probes of a port, seen from this process's own network namespace. */
import t from 'tap'
import { once } from 'node:events'
import { readdir, readlink } from 'node:fs/promises'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import { Monitor } from '../../src/native/index.ts'

const monitor = new Monitor(() => {})
const self = monitor.openProcess(process.pid)
t.teardown(() => monitor.close())

async function serve (t: { teardown: (end: () => void) => void }, answer: (socket: Socket) => void, host = '127.0.0.1'): Promise<number> {
  const server: Server = net.createServer((socket) => {
    socket.on('error', () => {})
    answer(socket)
  }).listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const probe = async (port: number, path?: string, milliseconds = 30_000) => await monitor.probe({ process: self, pid: process.pid, port, milliseconds, ...(path === undefined ? {} : { path }) })
const saying = (text: string) => (socket: Socket): void => { socket.once('data', () => socket.end(text)) }

t.test('what is healthy and what is not', async (t) => {
  t.match(await probe(await serve(t, (socket) => socket.end())), { healthy: true, output: /^connected to 127/ })
  for (const [text, healthy, output] of [
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', true, 'HTTP/1.1 200 OK'],
    ['HTTP/1.0 301 Moved\n\n', true, 'HTTP/1.0 301 Moved'],
    ['HTTP/1.1 399\r\n\r\n', true, 'HTTP/1.1 399'],
    ['HTTP/1.1 204', true, 'HTTP/1.1 204'],
    ['HTTP/1.1 404 Not Found\r\n\r\n', false, 'HTTP/1.1 404 Not Found'],
    ['HTTP/1.1 503 \xff\r\n\r\n', false, /^HTTP\/1.1 503/],
    ['HTTP/1.1 2000 OK\r\n', false, /^no HTTP/],
    ['220 mail\r\n', false, 'no HTTP: 220 mail'],
    ['', false, /closed without an answer/],
    ['x'.repeat(100_000), false, /^no HTTP: x{4096}$/]
  ] as const) t.match(await probe(await serve(t, saying(text)), '/there?is=1'), { healthy, output }, text.slice(0, 30))
})

t.test('the request', async (t) => {
  let asked = ''
  const port = await serve(t, (socket) => socket.on('data', (bytes) => {
    asked += bytes.toString('latin1')
    if (!asked.endsWith('\r\n\r\n')) return
    socket.write('HTTP/1.1 ')
    setImmediate(() => socket.end('200 OK\r\n\r\n'))
  }))
  t.match(await probe(port, '/a?b=c'), { healthy: true }, 'an answer in parts')
  t.match(asked, new RegExp(`^GET /a\\?b=c HTTP/1\\.1\r\nHost: localhost:${port}\r\n`))
})

t.test('nobody there, nobody who answers, and only IPv6', async (t) => {
  const port = await serve(t, () => {})
  t.match(await probe(port, '/', 200), { healthy: false, output: 'GET /: no answer within 0.2 s' })
  const closed = net.createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port: gone } = closed.address() as AddressInfo
  await new Promise((resolve) => closed.close(resolve))
  t.match(await probe(gone), { healthy: false, output: /^127.0.0.1:\d+: Connection refused/ })
  const six = await serve(t, (socket) => socket.end(), '::1').catch(() => undefined)
  if (six !== undefined) t.match(await probe(six), { healthy: true, output: /^connected to \[::1\]/ })
})

t.test('many at once, each on its own thread, and nothing stays', async (t) => {
  const port = await serve(t, saying('HTTP/1.1 200 OK\r\n\r\n'))
  const namespaces = async (): Promise<number> => {
    const names = await readdir('/proc/self/fd')
    return (await Promise.all(names.map(async (name) => await readlink(`/proc/self/fd/${name}`).catch(() => '')))).filter((link) => link.startsWith('net:')).length
  }
  const answers = await Promise.all(Array.from({ length: 64 }, async () => await probe(port, '/')))
  t.ok(answers.every(({ healthy }) => healthy))
  t.equal(await namespaces(), 0)
})

t.test('a process that is not there', async (t) => {
  await t.rejects(monitor.probe({ process: 4_000_000, pid: process.pid, port: 1, milliseconds: 100 }), { code: 'ESRCH' })
})
