import t from 'tap'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { Attached, type Refusal } from '../support/attached.ts'
import { Daemon } from '../support/daemon.ts'

const daemon = await Daemon.prepare()
t.teardown(async () => await daemon.destroy())
await daemon.launch(['--listen', '127.0.0.1:0', '--log-segment-bytes', '1048576'])
const token = /token[^:]*: (lsh_\S+)/.exec(daemon.output)?.[1] ?? ''
const tcp = (): string => [...daemon.output.matchAll(/"address":"([^"]+)"/g)].at(-1)?.[1] ?? ''
const bearer = { authorization: `Bearer ${token}` }

async function container (id: string, command: string[], terminal = false): Promise<any> { // any: the wire
  const bundle = await daemon.bundle(id, command, (config) => {
    if (terminal) config.mounts.push({ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'] })
  })
  const { status, body } = await daemon.post('/containers', { id, bundle, process: { terminal } })
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body
}

const attach = async (id: string, query = '', options: Parameters<typeof Attached.open>[2] = {}): Promise<Attached> => await Attached.open(daemon.socket, `/containers/${id}/attach${query}`, options)

t.test('input goes up, both streams come down, and the end of input ends what waits for it', async (t) => {
  const { runId } = await container('cat', ['/bin/sh', '-c', 'cat; echo done >&2; exit 3'])
  const client = await attach('cat')
  t.match(await client.message('attached'), { containerId: 'cat', runId, processId: 'init', terminal: false, input: true })
  client.send('hello ')
  client.send(Buffer.from([0, 255, 10]))
  await client.until(() => Buffer.concat(client.output).length === 9)
  t.same(Buffer.concat(client.output), Buffer.from('hello \0\xff\n', 'latin1'))
  client.send('last')
  client.control({ type: 'close-stdin' })
  await client.message('stdin-closed')
  t.match(await client.message('exit'), { exit: { status: 3, reason: 'exited' } })
  t.match(await client.end(), { code: 1000 })
  t.match(Buffer.concat(client.errors).toString(), 'done\n')
  t.equal(client.text.slice(-4), 'last')

  const late = await attach('cat')
  t.match(await late.message('attached'), { input: false })
  await late.end()
  t.same(Buffer.concat([...late.output, ...late.errors]).length, 9 + 4 + 5, 'one who comes after the end gets the tail, and the exit')
  t.match(late.messages.at(-1), { type: 'exit', exit: { status: 3 } })
})

t.test('a terminal: echo, Ctrl-C, resize', async (t) => {
  await container('pty', ['/bin/sh', '-c', 'trap : INT; busybox stty -echo; echo begin; while read -r line; do eval "$line"; done'], true)
  const [client, other] = [await attach('pty'), await attach('pty')]
  await client.until(() => client.text.includes('begin'))
  client.control({ type: 'resize', width: 123, height: 45 })
  client.send('busybox stty size\n')
  await client.until(() => client.text.includes('45 123'))
  client.send('yes; echo after-$((40+2))\n')
  await client.until(() => client.recent.includes('y\r\ny\r\n'))
  client.send('\x03')
  client.send('echo again-$((40+3))\n')
  await client.until(() => client.recent.includes('again-43'))
  await other.until(() => other.recent.includes('again-43'))
  const paste = Buffer.alloc(64 * 1024, 'a line of a paste that is long enough to fill a pipe or two\n')
  // A terminal gives whole lines only.
  paste[paste.length - 1] = 10
  client.send('echo rea""dy; head -c 65536 | busybox md5sum\n')
  await client.until(() => client.recent.includes('ready'))
  client.send(paste)
  const digest = createHash('md5').update(paste).digest('hex')
  await client.until(() => client.recent.includes(digest))
  t.pass('a paste of 64 KiB arrives whole')
  client.send('exit 5\n')
  for (const one of [client, other]) {
    t.match(await one.message('exit'), { exit: { status: 5 } })
    t.match(await one.end(), { code: 1000 })
  }
})

t.test('one that comes back with its offset loses and repeats nothing, also over kill -9 of the daemon', async (t) => {
  await container('count', ['/bin/sh', '-c', 'i=0; while read -r n; do while [ $i -lt $n ]; do echo $i; i=$((i+1)); done; done'])
  const parts: Buffer[] = []
  let client = await attach('count')
  const wanted = (n: number): string => Array.from({ length: n }, (_, i) => `${i}\n`).join('')
  for (const [round, n] of [200, 400, 600].entries()) {
    client.send(`${n}\n`)
    await client.until(() => client.text.includes(`${n - 100}\n`))
    if (round === 2) break
    if (round === 0) await daemon.stop('SIGKILL')
    else await client.close()
    await client.end()
    parts.push(...client.output)
    if (round === 0) await daemon.launch(['--listen', '127.0.0.1:0', '--log-segment-bytes', '1048576'])
    client = await attach('count', `?offset=${client.offset}`, { skip: client.beyond })
  }
  client.control({ type: 'close-stdin' })
  await client.end()
  t.equal(Buffer.concat([...parts, ...client.output]).toString(), wanted(600))
})

t.test('late joiners begin where they ask to', async (t) => {
  await container('tail', ['/bin/sh', '-c', 'echo one; echo two; echo three; cat'])
  const first = await attach('tail')
  // The position comes behind the output that it counts: 14 bytes, in one to three records with 16 of header each.
  await first.until(() => first.text === 'one\ntwo\nthree\n' && [30, 46, 62].includes(first.offset))
  const all = first.text
  const late = await Promise.all(([['?tail=1', 'three\n'], ['?tail=2', 'two\nthree\n'], ['?tail=0', ''], ['?tailBytes=0', ''], ['?tailBytes=1000', all], [`?offset=${first.offset}`, ''], ['?offset=0', all]] as const)
    .map(async ([query, text]) => ({ query, text, client: await attach('tail', query) })))
  first.send('more\n')
  for (const { query, text, client } of late) {
    await client.until(() => client.text.endsWith('more\n'))
    t.equal(client.text, `${text}more\n`, query)
    await client.close()
  }
  await daemon.delete('/containers/tail?force=true')
  t.match(await first.message('exit'), { exit: { status: 137 } })
})

t.test('a process that does not read holds up its client, and nobody else', async (t) => {
  await container('deaf', ['/bin/sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.1; done; busybox md5sum'])
  const [client, other] = [await attach('deaf'), await attach('deaf')]
  const size = 256 * 1024
  const hash = createHash('md5')
  for (let i = 0; i < 64; i++) {
    const bytes = Buffer.alloc(size, `${i}`)
    hash.update(bytes)
    client.send(bytes)
  }
  client.control({ type: 'close-stdin' })
  // The daemon answers others over all this time.
  for (let i = 0; i < 20; i++) t.equal((await daemon.get('/containers/deaf')).status, 200)
  t.ok(client.socket.bufferedAmount > 8 * 1024 * 1024, 'most of 16 MiB waits with the client')
  await writeFile(join(daemon.directory, 'bundles/deaf/rootfs/tmp/go'), '')
  await client.message('exit')
  t.match(client.text, hash.digest('hex'), 'all of it arrived, in order')
  t.match(await other.message('exit'), { exit: { status: 0 } })
})

t.test('a client that stops reading holds up nobody: not the process, not the others, not the daemon', async (t) => {
  await container('flood', ['/bin/sh', '-c', 'read go; i=0; while [ $i -lt 24 ]; do head -c 1048576 /dev/zero; i=$((i+1)); done; echo the end >&2'])
  const [stopped, reader] = [await attach('flood'), await attach('flood')]
  stopped.socket.pause()
  reader.send('go\n')
  const count = (client: Attached): number => client.output.reduce((sum, { length }) => sum + length, 0)
  const lost = (client: Attached): number => client.messages.filter(({ type }) => type === 'lost').length
  t.match(await reader.message('exit'), { exit: { status: 0 } })
  if (lost(reader) === 0) t.equal(count(reader), 24 * 1048576)
  t.equal(Buffer.concat(reader.errors).toString(), 'the end\n')
  stopped.socket.resume()
  t.match(await stopped.message('exit'), { exit: { status: 0 } }, 'it comes to the end, too')
  t.equal(Buffer.concat(stopped.errors).toString(), 'the end\n')
  t.ok(lost(stopped) > 0 && count(stopped) < 24 * 1048576, 'and is told of what was written over meanwhile')
})

t.test('what cannot be is refused before the upgrade', async (t) => {
  await container('busy', ['/bin/cat'])
  const refused = async (id: string, query: string, options?: Parameters<typeof Attached.open>[2]): Promise<Refusal> => await attach(id, query, options).then(async (client) => { await client.close(); return { status: 101, body: null } }, (answer: Refusal) => answer)
  t.match(await refused('nobody', ''), { status: 404, body: { code: 'container_not_found' } })
  t.match(await refused('busy', '?tail=x'), { status: 400, body: { code: 'bad_request' } })
  t.match(await refused('busy', '?tail=1&offset=3'), { status: 400, body: { code: 'bad_request' } })
  t.match(await refused('busy', `?runId=${'0'.repeat(20)}`), { status: 404, body: { code: 'run_not_found' } })
  t.match(await refused('busy', '', { headers: { origin: 'https://evil.example' } }), { status: 403, body: { code: 'forbidden_origin' } })
  t.match(await refused('busy', '', { tcp: tcp() }), { status: 401, body: { code: 'unauthorized' } })
  t.match(await refused('busy', '', { tcp: tcp(), headers: { ...bearer, host: 'evil.example' } }), { status: 403, body: { code: 'forbidden_host' } })
  t.match(await daemon.get('/containers/busy/attach'), { status: 426, body: { code: 'upgrade_required' } })
  // Upgrade is for what can be upgraded: elsewhere it is an ordinary request.
  const upgraded = http.get({ socketPath: daemon.socket, path: '/healthz', agent: false, headers: { connection: 'upgrade', upgrade: 'websocket' } })
  const status = await new Promise((resolve) => upgraded.once('response', (response) => { response.resume(); resolve(response.statusCode) }))
  t.equal(status, 200)

  const remote = await attach('busy', '', { tcp: tcp(), headers: bearer })
  remote.send('over TCP\n')
  await remote.until(() => remote.text === 'over TCP\n')
  await remote.close()

  const path = join(daemon.root, 'tokens.json')
  const { tokens } = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ tokens: [...tokens, { id: 'r', name: 'reader', scope: 'read', token: 'may-read', createdAt: new Date().toISOString() }] }))
  const looker = await attach('busy', '', { tcp: tcp(), headers: { authorization: 'Bearer may-read' } })
  t.match(await looker.message('attached'), { input: false })
  looker.send('not mine to say\n')
  t.match(await looker.message('error'), { code: 'forbidden' })
  await looker.until(() => looker.text === 'over TCP\n')
  t.pass('one who may only read sees the output')
  await looker.close()
})

t.test('bad messages are answered, too large ones end the connection, and the daemon says that it stops', async (t) => {
  const client = await attach('busy')
  const problems = (): any[] => client.messages.filter(({ type }) => type === 'error') // any: the wire
  for (const message of ['{', '[]', '{"type":"resize","width":0,"height":1}', '{"type":"resize","width":80,"height":24,"x":1}', '{"type":"go"}', 'null']) {
    const before = problems().length
    client.socket.send(message)
    await client.until(() => problems().length > before)
    t.match(problems().at(-1), { code: 'bad_request' }, message)
  }
  client.control({ type: 'resize', width: 80, height: 24 })
  await client.until(() => problems().at(-1).code === 'invalid_state')
  client.send(Buffer.alloc(1024 * 1024 + 1))
  t.match(await client.end(), { code: 1009 })
  const last = await attach('busy')
  await container('yes', ['/bin/sh', '-c', 'exec yes'])
  const blocked = await attach('yes')
  blocked.socket.pause()
  const [reader] = await once(http.get({ socketPath: daemon.socket, path: '/containers/yes/logs?follow=true', agent: false }), 'response') as [http.IncomingMessage]
  reader.on('error', () => {})
  // Both are full by the time that one who came later has read so much.
  const other = await attach('yes')
  await other.until(() => other.output.reduce((sum, { length }) => sum + length, 0) > 8 * 1024 * 1024)
  const stopped = daemon.stop()
  t.match(await last.end(), { code: 1001 })
  t.equal(await stopped, 0, 'readers that do not read do not keep it from stopping')
  reader.destroy()
  await blocked.close()
  await daemon.launch()
})
