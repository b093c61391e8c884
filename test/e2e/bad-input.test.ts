import t, { type Test as TestContext } from 'tap'
import { execFile } from 'node:child_process'
import http from 'node:http'
import { mkdir, readdir, writeFile, chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Daemon, trap, type Reply } from '../support/daemon.ts'

const run = promisify(execFile)
const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())
const good = await daemon.bundle('good', trap(0))

/** A problem with this status and code, and nothing left behind. */
async function refused (t: TestContext, reply: Reply, status: number, code: string): Promise<void> {
  t.match({ status: reply.status, type: reply.headers['content-type'], body: reply.body }, { status, type: /^application\/problem\+json/, body: { status, code, type: `urn:longshore:error:${code}` } }, `${status} ${code}`)
  t.ok(reply.headers['x-request-id'], 'has a request id')
}

async function nothingLeft (t: TestContext): Promise<void> {
  t.same((await daemon.get('/containers')).body.items, [])
  t.same(await readdir(join(daemon.root, 'containers')), [], 'no record')
  t.same(await readdir(join(daemon.state, 'runs')), [], 'no run directory')
  t.same(await daemon.shims(), [], 'no shim')
  t.equal((await run('runc', ['--root', join(daemon.state, 'runtime'), 'list', '-q'])).stdout, '', 'nothing in the runtime')
}

t.test('bundles that cannot be used', async (t) => {
  for (const [bundle, status, code] of [
    [undefined, 400, 'bad_request'],
    ['', 400, 'bad_request'],
    ['relative/path', 422, 'invalid_bundle'],
    ['/does/not/exist', 422, 'invalid_bundle'],
    ['/etc/hostname', 422, 'invalid_bundle'],
    ['/tmp/a\u0000b', 400, 'bad_request'],
    [17, 400, 'bad_request'],
    [null, 400, 'bad_request']
  ] as const) await refused(t, await daemon.post('/containers', { bundle }), status, code)

  const broken = join(daemon.directory, 'bundles/broken')
  await mkdir(broken, { recursive: true })
  for (const text of ['', '{', '[]', '"text"', 'null', '{}', '{"process":{"args":[]}}', '{"process":{"args":"sh"}}', '{"process":7}']) {
    await writeFile(join(broken, 'config.json'), text)
    await refused(t, await daemon.post('/containers', { bundle: broken }), 422, 'invalid_bundle')
  }
  await nothingLeft(t)
})

t.test('bodies: an empty one is none, whatever its media type; what a body says is never passed over', async (t) => {
  const send = async (path: string, headers: Record<string, string>, body?: string, method = 'POST'): Promise<Reply> => await new Promise((resolve, reject) => {
    const request = http.request({ socketPath: daemon.socket, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: text === '' ? undefined : JSON.parse(text) }))
    })
    request.on('error', reject).end(body)
  })
  const json = { 'content-type': 'application/json' }
  await daemon.post('/containers', { id: 'bodies', bundle: good, start: false })
  t.equal((await send('/containers/bodies/start', json)).status, 200)
  t.equal((await send('/containers/bodies/pause', { ...json, 'content-length': '0' })).status, 200)
  t.equal((await send('/containers/bodies/resume', json, '{}')).status, 200)
  const refusal = await send('/containers/bodies/pause', json, '{"timeout":1}')
  await refused(t, refusal, 400, 'bad_request')
  t.same(refusal.body.errors, [{ field: 'timeout', rule: 'is not a known field' }])
  await refused(t, await send('/containers/bodies', json, '{"force":true}', 'DELETE'), 400, 'bad_request')
  await refused(t, await send('/containers', json), 400, 'bad_request')
  for (const path of ['/healthz', '/readyz', '/version']) t.match(await send(path, {}, undefined, 'HEAD'), { status: 200, text: '' }, 'monitors ask with HEAD')
  for (const name of ['', 'a=b', 'a\nb', 'x'.repeat(257)]) await refused(t, await daemon.post('/containers', { bundle: good, labels: { [name]: 'x' } }), 400, 'bad_request')
  await refused(t, await send('/nothing/here', json, '{"a":1}'), 404, 'route_not_found')
  for (const mediaType of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml']) await refused(t, await send('/containers', { 'content-type': mediaType }, '{"bundle":"/x"}'), 415, 'unsupported_media_type')
  t.match((await send('/containers/bodies/attach', {}, undefined, 'GET')), { status: 426, headers: { upgrade: 'websocket' } })
  t.equal((await send('/containers/bodies/stop', json)).status, 200)
  await daemon.delete('/containers/bodies')
})

t.test('what the runtime refuses comes back in its own words', async (t) => {
  const events = await daemon.events()
  const odd = await daemon.bundle('odd', ['/bin/true'], (config) => { config.linux.namespaces.push({ type: 'sideways' }) })
  const reply = await daemon.post('/containers', { id: 'odd', bundle: odd })
  await refused(t, reply, 422, 'runtime_failed')
  t.match(reply.body, { runtime: /sideways/, step: 'runtime create' })
  t.match((await events.type('StateStartFailed', 'odd')).data, { error: { code: 'runtime_failed', detail: /sideways/ }, exit: { status: null, reason: 'start-failed' } })

  const missing = await daemon.bundle('missing', ['/bin/no-such-command'])
  const absent = await daemon.post('/containers', { id: 'absent', bundle: missing })
  await refused(t, absent, 422, 'runtime_failed')
  t.equal(absent.body.exitStatus, 127)
  t.match((await events.type('StateStartFailed', 'absent')).data.exit, { status: 127, reason: 'start-failed' })

  const plain = await daemon.bundle('plain', ['/bin/text'])
  await writeFile(join(plain, 'rootfs/bin/text'), 'no program')
  await chmod(join(plain, 'rootfs/bin/text'), 0o644)
  const forbidden = await daemon.post('/containers', { id: 'forbidden', bundle: plain })
  await refused(t, forbidden, 422, 'runtime_failed')
  t.equal(forbidden.body.exitStatus, 126)

  t.notOk(events.events.some(({ event }) => event === 'StateExit'), 'a failed start has no StateExit')
  events.close()
  await refused(t, await daemon.post('/containers', { bundle: good, runtime: 'no-such-runtime' }), 422, 'runtime_not_found')
  await refused(t, await daemon.post('/containers', { bundle: good, runtime: '/etc/hostname' }), 422, 'runtime_not_found')
  await refused(t, await daemon.post('/containers', { bundle: good, runtime: '/bin/false' }), 422, 'runtime_failed')
  await refused(t, await daemon.post('/containers', { bundle: good, runtime: '/bin/true' }), 502, 'runtime_crashed')
  await nothingLeft(t)
})

t.test('ids, names and bodies', async (t) => {
  for (const id of ['a/b', '..', '.', '', 'a b', 'ü', 'a\u0000b', '-a', 'x'.repeat(300), 'x'.repeat(129)]) {
    await refused(t, await daemon.post('/containers', { id, bundle: good }), 400, 'invalid_id')
  }
  await refused(t, await daemon.post('/containers', { id: 7, bundle: good }), 400, 'bad_request')
  await refused(t, await daemon.get(`/containers/${'x'.repeat(300)}`), 400, 'invalid_id')
  await refused(t, await daemon.get('/containers/a%00b'), 400, 'invalid_id')
  await refused(t, await daemon.get('/containers/a%2Fb'), 400, 'invalid_id')
  await refused(t, await daemon.get('/containers/%zz'), 400, 'bad_request')
  await refused(t, await daemon.get('/containers/none'), 404, 'container_not_found')
  await refused(t, await daemon.get('/containers/none/wait'), 404, 'container_not_found')
  await refused(t, await daemon.get('/containers/none/events'), 404, 'container_not_found')
  await refused(t, await daemon.get('/nothing'), 404, 'route_not_found')
  const wrong = await daemon.request('PUT', '/containers', {})
  await refused(t, wrong, 405, 'method_not_allowed')
  t.equal(wrong.headers.allow, 'GET, POST')
  await refused(t, await daemon.request('HEAD', '/events').then((reply) => ({ ...reply, body: { status: 405, code: 'method_not_allowed', type: 'urn:longshore:error:method_not_allowed' } })), 405, 'method_not_allowed')

  const unknown = await daemon.post('/containers', { bundle: good, colour: 'red' })
  await refused(t, unknown, 400, 'bad_request')
  t.same(unknown.body.errors, [{ field: 'colour', rule: 'is not a known field' }])
  await refused(t, await daemon.post('/containers', { bundle: good, process: { argv: [] } }), 400, 'bad_request')
  await refused(t, await daemon.get('/containers?colour=red'), 400, 'bad_request')
  for (const wrong of [{ start: 'yes' }, { labels: [] }, { labels: { a: 1 } }, { labels: null }, { process: { args: 'sh' } }, { stopTimeout: -1 }, { stopTimeout: '5' }, { autoRemove: 0 }, { runtimeArgs: 'x' }]) {
    await refused(t, await daemon.post('/containers', { bundle: good, ...wrong }), 400, 'bad_request')
  }
  await refused(t, await daemon.post('/containers', '{'), 400, 'bad_request')
  await refused(t, await daemon.post('/containers', '[]'), 400, 'bad_request')
  await refused(t, await daemon.request('POST', '/containers', 'bundle=x', { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'unsupported_media_type')
  await refused(t, await daemon.post('/containers', JSON.stringify({ bundle: 'x'.repeat(10 * 1024 * 1024) })), 413, 'body_too_large')
  await refused(t, await daemon.get('/containers', { 'x-long': 'x'.repeat(20_000) }), 431, 'headers_too_large')
  await refused(t, await daemon.get('/containers?limit=0'), 400, 'bad_request')
  await refused(t, await daemon.get('/containers?limit=1001'), 400, 'bad_request')
  await refused(t, await daemon.get('/containers?cursor=%21'), 400, 'invalid_cursor')
  await refused(t, await daemon.get('/events?type=StateNonsense'), 400, 'bad_request')
  await refused(t, await daemon.get('/events?from=yesterday'), 400, 'bad_request')
  await refused(t, await daemon.get('/events', { accept: 'image/png' }), 406, 'not_acceptable')
  await refused(t, await daemon.get('/events?from=zzzz:1', { accept: 'application/x-ndjson' }), 410, 'events_gone')
  t.equal((await daemon.get('/version', { 'x-request-id': 'mine-1' })).headers['x-request-id'], 'mine-1')
  t.not((await daemon.get('/version', { 'x-request-id': 'bad id' })).headers['x-request-id'], 'bad id')
  await nothingLeft(t)
})

t.test('signals that go nowhere', async (t) => {
  await daemon.post('/containers', { id: 'target', bundle: good })
  for (const signal of ['SIGNOPE', 'NOPE', '', 65, -1, 1.5, '99', 'SIGRTMIN+99']) {
    const reply = await daemon.post('/containers/target/signal', { signal })
    await refused(t, reply, 400, signal === 1.5 ? 'bad_request' : 'invalid_signal')
  }
  await refused(t, await daemon.post('/containers/target/signal', {}), 400, 'bad_request')
  await refused(t, await daemon.post('/containers/target/signal', { signal: null }), 400, 'bad_request')
  await refused(t, await daemon.post('/containers/none/signal', { signal: 'TERM' }), 404, 'container_not_found')
  await refused(t, await daemon.post('/containers/target/signal', { signal: 'TERM', processId: 'other' }), 404, 'process_not_found')
  await refused(t, await daemon.post('/containers/target/processes/other/signal', { signal: 'TERM' }), 404, 'process_not_found')
  await refused(t, await daemon.get('/containers/target/processes/other'), 404, 'process_not_found')
  t.equal((await daemon.post('/containers/target/processes/init/signal', { signal: 0 })).status, 204)
  t.equal((await daemon.post('/containers/target/signal', { signal: 'KILL', all: true })).status, 204)
  t.match((await daemon.get('/containers/target/wait')).body, { status: 137 })
  await refused(t, await daemon.post('/containers/target/signal', { signal: 'TERM' }), 409, 'container_not_running')
  await daemon.delete('/containers/target')
})

t.test('two at once', async (t) => {
  const twice = await Promise.all([daemon.post('/containers', { id: 'same', bundle: good }), daemon.post('/containers', { id: 'same', bundle: good })])
  t.same(twice.map(({ status }) => status).sort(), [201, 409])
  await refused(t, twice.find(({ status }) => status === 409) as Reply, 409, 'container_exists')
  await refused(t, await daemon.delete('/containers/same'), 409, 'container_running')
  const deletes = await Promise.all([daemon.delete('/containers/same?force=true'), daemon.delete('/containers/same?force=true')])
  t.same(deletes.map(({ status }) => status).sort(), [204, 404])

  const [created, deleted] = await Promise.all([daemon.post('/containers', { id: 'brief', bundle: good }), daemon.delete('/containers/brief?force=true')])
  t.equal(created.status, 201, 'a delete during create waits for it')
  t.equal(deleted.status, 204)
  await nothingLeft(t)
})

t.test('a client that goes away in the middle of create', async (t) => {
  const events = await daemon.events()
  const body = JSON.stringify({ id: 'orphan', bundle: good })
  const request = http.request({ socketPath: daemon.socket, method: 'POST', path: '/containers', headers: { 'content-type': 'application/json', 'content-length': body.length } })
  request.on('error', () => {})
  request.end(body)
  await new Promise((resolve) => request.on('finish', resolve))
  setTimeout(() => request.destroy(), 5)
  await events.type('StateStart', 'orphan')
  t.match((await daemon.get('/containers/orphan')).body, { status: 'running' }, 'it is made all the same')
  t.equal((await daemon.delete('/containers/orphan?force=true')).status, 204)
  events.close()
  await nothingLeft(t)
})

t.test('the bundle is never touched', async (t) => {
  const before = await readFile(join(good, 'config.json'), 'utf8')
  await daemon.post('/containers', { id: 'over', bundle: good, process: { args: ['/bin/true'] } })
  await daemon.get('/containers/over/wait')
  await daemon.delete('/containers/over')
  t.equal(await readFile(join(good, 'config.json'), 'utf8'), before)
  t.same((await readdir(good)).sort(), ['config.json', 'rootfs'])
})
