import t from 'tap'
import { once } from 'node:events'
import { readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { Daemon, trap } from '../support/daemon.ts'
import { ask, firstToken, openStream, tcpAddress } from '../support/tcp.ts'

const daemon = await Daemon.start(['--listen', '127.0.0.1:0', '--allowed-origin', 'http://good.example'])
t.teardown(async () => await daemon.destroy())
const admin = firstToken(daemon)
let address = tcpAddress(daemon)
const file = join(daemon.root, 'tokens.json')
const { tokens: [first] } = JSON.parse(await readFile(file, 'utf8'))
const more = [
  { id: 'r', name: 'reader', scope: 'read', token: 'read-me', createdAt: '' },
  { id: 's', name: 'some', scope: 'admin', token: 'web-only', createdAt: '', labels: { app: 'web' } },
  { id: 'b', name: 'brief', scope: 'admin', token: 'brief', createdAt: '' }
]
const setTokens = async (tokens: object[]): Promise<void> => await writeFile(file, JSON.stringify({ tokens: [first, ...tokens] }))
await setTokens(more)

/** Logs in; the cookie as the browser sends it back. */
async function login (token: string, headers: Record<string, string> = {}): Promise<{ cookie: string, given: string, body: any }> { // any: the wire
  const { status, headers: answered, body } = await ask(address, 'POST', '/session', headers, { token })
  t.equal(status, 201, `login of ${body?.name}`)
  const [given = ''] = answered['set-cookie'] ?? []
  return { cookie: given.split(';')[0] ?? '', given, body }
}

t.test('a token becomes a cookie that scripts and other sites cannot have', async (t) => {
  const { given, cookie, body } = await login(admin)
  t.match(given, /^longshore_session=[\w-]{43};/)
  for (const part of ['HttpOnly', 'SameSite=Strict', 'Path=/', 'Expires=']) t.match(given, part)
  t.notMatch(given, 'Secure', 'not over TLS')
  t.match(body, { via: 'session', name: 'first', scope: 'admin', labels: null })
  t.ok(Date.parse(body.expiresAt) > Date.now())
  t.match((await ask(address, 'GET', '/session', { cookie })).body, { via: 'session', name: 'first', expiresAt: body.expiresAt })
  t.match((await ask(address, 'GET', '/session', { authorization: `Bearer ${admin}` })).body, { via: 'token', name: 'first', expiresAt: null })
  t.match(await ask(address, 'GET', '/session'), { status: 401 })
  t.match(await ask(address, 'GET', '/session', { cookie: 'longshore_session=guess' }), { status: 401 })
  const byHeader = await ask(address, 'POST', '/session', { authorization: `Bearer ${admin}` })
  t.equal(byHeader.status, 201, 'the token in the header, without a body')
  t.match(await ask(address, 'POST', '/session', {}, { token: 'wrong' }), { status: 401 })
  t.match(await ask(address, 'POST', '/session'), { status: 401 })
  t.match(await ask(address, 'POST', '/session', { 'idempotency-key': 'anybody' }), { status: 401 })
  t.notOk((await readdir(join(daemon.root, 'idempotency')).catch(() => [])).length, 'nothing is kept for who has shown no token')
  t.match(await ask(address, 'POST', '/session', {}, { token: admin, more: 1 }), { status: 400 })
  t.match((await daemon.get('/session')).body, { via: 'socket', scope: 'admin' }, 'over the unix socket nobody is asked')
  t.notOk((await daemon.post('/session')).headers['set-cookie'])

  const behindProxy = await ask(address, 'POST', '/session', { origin: `https://${address}`, authorization: `Bearer ${admin}` })
  t.match(behindProxy, { status: 403, body: { code: 'forbidden_origin' } }, 'a proxy that ends TLS is told of by --allowed-origin')

  const kept = join(daemon.root, 'sessions.json')
  t.equal((await stat(kept)).mode & 0o777, 0o600)
  t.notOk((await readFile(kept, 'utf8')).includes(cookie.split('=')[1] ?? '-'), 'only the hash is kept')
})

t.test('a cookie allows what its token allows', async (t) => {
  const bundle = await daemon.bundle('trap', trap(0))
  await daemon.post('/containers', { id: 'web', bundle, labels: { app: 'web' }, start: false })
  await daemon.post('/containers', { id: 'db', bundle, labels: { app: 'db' }, start: false })
  const some = await login('web-only')
  t.same(some.body.labels, { app: 'web' })
  t.same((await ask(address, 'GET', '/containers', { cookie: some.cookie })).body.items.map(({ id }: { id: string }) => id), ['web'])
  t.match(await ask(address, 'GET', '/containers/db', { cookie: some.cookie }), { status: 404 })
  const page = await ask(address, 'GET', '/events?follow=false', { cookie: some.cookie, accept: 'application/json' })
  t.same([...new Set(page.body.items.map(({ containerId }: { containerId: string }) => containerId))], ['web'])
  const reader = await login('read-me')
  const origin = { origin: `http://${address}`, 'sec-fetch-site': 'same-origin' }
  t.match(await ask(address, 'GET', '/containers', { cookie: reader.cookie }), { status: 200 })
  t.match(await ask(address, 'POST', '/containers/web/stop', { cookie: reader.cookie, ...origin }, {}), { status: 403, body: { code: 'forbidden' } })
  t.equal((await ask(address, 'DELETE', '/session', { cookie: reader.cookie, ...origin })).status, 204, 'a reader may log out')
  t.match(await ask(address, 'GET', '/session', { cookie: reader.cookie }), { status: 401 })
  t.equal((await ask(address, 'DELETE', '/session', origin)).status, 204, 'twice')
})

t.test('a foreign page can do nothing with it, on any method', async (t) => {
  const { cookie } = await login(admin)
  const own = `http://${address}`
  const refused = { status: 403, body: { code: 'forbidden_origin' } }
  for (const [method, path] of [['GET', '/containers'], ['GET', '/events'], ['POST', '/containers/web/stop'], ['DELETE', '/containers/web'], ['PATCH', '/containers/web'], ['POST', '/session'], ['DELETE', '/session']] as const) {
    const body = method === 'GET' || method === 'DELETE' ? undefined : {}
    t.match(await ask(address, method, path, { cookie, origin: 'http://evil.example' }, body), refused, `${method} ${path}, Origin`)
    t.match(await ask(address, method, path, { cookie, origin: 'null' }, body), refused, `${method} ${path}, no origin`)
    t.match(await ask(address, method, path, { cookie, origin: `https://${address}` }, body), refused, `${method} ${path}, another scheme`)
    t.match(await ask(address, method, path, { cookie, 'sec-fetch-site': 'same-site' }, body), refused, `${method} ${path}, another port of this host`)
    t.match(await ask(address, method, path, { cookie, 'sec-fetch-site': 'cross-site' }, body), refused, `${method} ${path}, embedded`)
    if (method !== 'GET') t.match(await ask(address, method, path, { cookie }, body), refused, `${method} ${path}, told neither`)
    t.match(await ask(address, method, path, { cookie, origin: 'http://rebound.example', host: 'rebound.example' }, body), { status: 403, body: { code: 'forbidden_host' } }, `${method} ${path}, rebound`)
  }
  t.match(await ask(address, 'GET', '/containers', { cookie, 'sec-fetch-site': 'none' }), { status: 200 }, 'typed by the user')
  t.match(await ask(address, 'POST', '/containers/none/stop', { cookie, origin: own }, {}), { status: 404 }, 'its own pages may')
  t.match(await ask(address, 'POST', '/containers/none/stop', { cookie, origin: 'http://good.example', 'sec-fetch-site': 'cross-site' }, {}), { status: 404 }, 'so may those on the list')
  t.match(await daemon.get('/containers', { origin: 'http://evil.example' }), refused, 'and over a forwarded unix socket')
  t.match(await daemon.get('/containers', { 'sec-fetch-site': 'same-site' }), refused)
  t.match(await daemon.get('/containers', { origin: 'http://localhost:8080', host: 'localhost:8080' }), { status: 200 })
  t.match(await daemon.get('/containers', { origin: 'http://rebound.example', host: 'rebound.example' }), refused)
})

/** The daemon has so many waits that have not ended. */
async function waiting (count: number): Promise<void> {
  while (!new RegExp(`^longshore_waits ${count}$`, 'm').test((await daemon.get('/metrics')).text)) await new Promise((resolve) => setTimeout(resolve, 20))
}

t.test('an open wait ends with what allowed it, and hears why', async (t) => {
  const [mine, other] = [await login(admin), await login(admin)]
  const wait = async (headers: Record<string, string>, id = 'web'): ReturnType<typeof ask> => await ask(address, 'GET', `/containers/${id}/wait`, headers)
  const [loggedOut, goesOn, withdrawn] = [wait({ cookie: mine.cookie }), wait({ cookie: other.cookie }, 'db'), wait({ authorization: 'Bearer brief' })]
  await waiting(3)
  await ask(address, 'DELETE', '/session', { cookie: mine.cookie, origin: `http://${address}` })
  t.match(await loggedOut, { status: 401, body: { code: 'unauthorized' } })
  await setTokens(more.slice(0, 2))
  t.match(await withdrawn, { status: 401, body: { code: 'unauthorized' } })
  await waiting(1)
  await setTokens(more)
  await daemon.delete('/containers/db')
  t.match(await goesOn, { status: 409, body: { code: 'no_exit' } }, 'the others go on')
})

t.test('labels that are taken away end what a token was allowed by them', async (t) => {
  const some = { authorization: 'Bearer web-only' }
  await daemon.post('/containers', { id: 'stays', bundle: join(daemon.directory, 'bundles/trap'), labels: { app: 'web' }, start: false })
  const [all, one] = [await openStream(address, '/events', some), await openStream(address, '/containers/web/events', some)]
  const wait = ask(address, 'GET', '/containers/web/wait', some)
  await waiting(1)
  t.equal((await daemon.request('PATCH', '/containers/web', { labels: { app: null, secret: 'new' } })).status, 200)
  t.match(await wait, { status: 404, body: { code: 'container_not_found' } })
  await one.ended
  t.equal((await daemon.request('PATCH', '/containers/stays', { labels: { more: 'x' } })).status, 200)
  await all.has('"more":"x"')
  t.notMatch(all.text(), /secret/, 'nothing is told of it from that very event on')
  all.close()
  await daemon.request('PATCH', '/containers/web', { labels: { app: 'web', secret: null } })
})

t.test('a session outlives the daemon; logging out, a withdrawn token and one that means less end it and its streams', async (t) => {
  const [one, other, brief] = [await login(admin), await login(admin), await login('brief')]
  await daemon.stop('SIGKILL')
  await daemon.launch(['--listen', address])
  address = tcpAddress(daemon)
  t.match(await ask(address, 'GET', '/session', { cookie: one.cookie }), { status: 200 })

  const stream = async (headers: Record<string, string>): ReturnType<typeof openStream> => {
    const opened = await openStream(address, '/events', headers)
    t.equal(opened.status, 200)
    return opened
  }
  const mine = await stream({ cookie: one.cookie })
  const stays = await stream({ cookie: other.cookie })
  await ask(address, 'DELETE', '/session', { cookie: one.cookie, origin: `http://${address}` })
  await mine.ended
  t.match(await ask(address, 'GET', '/events', { cookie: one.cookie }), { status: 401 })

  const again = await ask(address, 'POST', '/session', { cookie: brief.cookie, origin: `http://${address}` }, { token: 'brief' })
  t.equal(again.status, 201)
  t.match(await ask(address, 'GET', '/session', { cookie: brief.cookie }), { status: 401 }, 'a new login ends the old one')
  const cookie = again.headers['set-cookie']?.[0]?.split(';')[0] ?? ''
  const byCookie = await stream({ cookie })
  const byToken = await stream({ authorization: 'Bearer brief' })
  const lessened = await stream({ authorization: 'Bearer web-only' })
  await daemon.post('/containers', { id: 'live', bundle: join(daemon.directory, 'bundles/trap') })
  const attached = new WebSocket(`ws://${address}/containers/live/attach`, { headers: { cookie, origin: `http://${address}` } })
  attached.on('error', () => {})
  await once(attached, 'open')
  const detached = once(attached, 'close')
  await setTokens([{ ...more[1], labels: { app: 'other' } }])
  await Promise.all([byCookie.ended, byToken.ended, lessened.ended, detached])
  t.match(await ask(address, 'GET', '/session', { cookie }), { status: 401 })
  t.match(await ask(address, 'GET', '/events', { authorization: 'Bearer brief' }), { status: 401 })

  await daemon.post('/containers', { id: 'after', bundle: join(daemon.directory, 'bundles/trap'), start: false })
  await stays.has('"after"')
  t.pass('the others go on')
  stays.close()
})

t.test('a session ends when its time has come, and its streams with it', async (t) => {
  const short = await Daemon.start(['--listen', '127.0.0.1:0', '--session-lifetime', '2'])
  t.teardown(async () => await short.destroy())
  const where = tcpAddress(short)
  const { headers } = await ask(where, 'POST', '/session', { authorization: `Bearer ${firstToken(short)}` })
  const cookie = headers['set-cookie']?.[0]?.split(';')[0] ?? ''
  const stream = await openStream(where, '/events', { cookie })
  await stream.ended
  t.match(await ask(where, 'GET', '/session', { cookie }), { status: 401 })
})

t.test('who guesses is slowed down, and nobody else', async (t) => {
  const { cookie } = await login(admin)
  const good = { authorization: `Bearer ${admin}` }
  t.match(await ask(address, 'GET', '/version', good), { status: 200 })
  let last
  for (let guesses = 0; guesses < 200 && last?.status !== 429; guesses++) last = await ask(address, 'GET', '/version', { authorization: 'Bearer guess' })
  t.match(last, { status: 429, headers: { 'retry-after': '1' }, body: { code: 'too_many_requests' } })
  t.match(await ask(address, 'GET', '/version', good), { status: 200 }, 'a client that was good before')
  t.match(await ask(address, 'GET', '/version', { cookie }), { status: 200 })
  t.equal((await daemon.get('/version')).status, 200)
})
