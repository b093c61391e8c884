import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { launchChromium } from '../support/chromium.ts'
import { Daemon, trap } from '../support/daemon.ts'
import { firstToken, tcpAddress } from '../support/tcp.ts'

/** What a page has of the DOM: the types of it are not those of this project. */
type Page = { seen: [string, string][], source: { readyState: number }, states: number[], EventSource: new (url: string, init?: object) => any, fetch: (url: string, init?: object) => Promise<Response> } // any: see above

const daemon = await Daemon.start(['--listen', '127.0.0.1:0'])
t.teardown(async () => await daemon.destroy())
const address = tcpAddress(daemon)
const { context, close } = await launchChromium()
t.teardown(close)
const page = await context.newPage()
await page.goto(`http://${address}/version`)

const login = async (token: string): Promise<number> => await page.evaluate(async (token) => {
  const { fetch } = globalThis as unknown as Page
  return (await fetch('/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token }) })).status
}, token)

t.test('a page logs in and follows the events over kill -9 of the daemon: none lost, none twice', async (t) => {
  t.match(await page.evaluate(() => (globalThis as any).document.body.textContent), 'unauthorized')
  t.equal(await login('wrong'), 401)
  t.equal(await login(firstToken(daemon)), 201)
  t.equal(await page.evaluate(() => (globalThis as any).document.cookie), '', 'scripts do not see the cookie')
  const [cookie] = await context.cookies()
  t.match(cookie, { name: 'longshore_session', httpOnly: true, sameSite: 'Strict', secure: false })

  await page.evaluate(async () => {
    const window = globalThis as unknown as Page
    window.seen = []
    window.states = []
    const source = window.source = new window.EventSource('/events?from=earliest')
    for (const type of ['StateCreate', 'StateDelete', 'StateExit', 'StateStart', 'StateUpdate', 'Gap']) {
      source.addEventListener(type, ({ data, lastEventId }: { data: string, lastEventId: string }) => window.seen.push([type === 'Gap' ? type : lastEventId, JSON.parse(data).containerId]))
    }
    source.onerror = () => window.states.push(source.readyState)
    await new Promise((resolve) => { source.onopen = resolve })
  })
  const bundle = await daemon.bundle('many', trap(0))
  for (let kills = 0; kills < 2; kills++) {
    // It waits some seconds before it comes back: a daemon that is killed before that is one that it never missed.
    await page.waitForFunction((times) => {
      const { source, states } = globalThis as unknown as Page
      return states.length >= times && source.readyState === 1
    }, kills)
    const work = Array.from({ length: 4 }, async (_, index) => {
      const id = `many-${kills}-${index}`
      await daemon.post('/containers', { id, bundle, start: false })
      await daemon.delete(`/containers/${id}`)
    })
    await Promise.any(work)
    await daemon.stop('SIGKILL')
    await Promise.allSettled(work)
    await daemon.launch(['--listen', address])
  }
  await daemon.post('/containers', { id: 'last', bundle, start: false })
  await page.waitForFunction(() => (globalThis as unknown as Page).seen.some(([, container]) => container === 'last'))
  const { seen, states } = await page.evaluate(() => {
    const { seen, states } = globalThis as unknown as Page
    return { seen, states }
  })
  const kept = await daemon.get('/events?follow=false&from=earliest&limit=1000')
  t.same(seen.map(([id]) => id), kept.body.items.map(({ id }: { id: string }) => id))
  t.ok(seen.length >= 15 && states.length >= 2 && states.every((state) => state === 0), `${seen.length} events, ${states.length} times without the daemon`)
})

t.test('a page on another port of the same host gets the cookie sent, and nothing for it', async (t) => {
  const server = http.createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const foreign = await context.newPage()
  await foreign.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const state = await foreign.evaluate(async (url) => {
    const { EventSource } = globalThis as unknown as Page
    const source = new EventSource(`${url}/events`, { withCredentials: true })
    return await new Promise((resolve) => { source.onerror = source.onopen = () => resolve(source.readyState) })
  }, `http://${address}`)
  t.equal(state, 2, 'the stream is refused for good')
  // What needs no leave beforehand is sent; what it did can be seen at the daemon only.
  await foreign.evaluate(async (url) => {
    const { fetch } = globalThis as unknown as Page
    await fetch(`${url}/session`, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '' }).catch(() => {})
    await fetch(`${url}/containers/last`, { method: 'DELETE', credentials: 'include' }).catch(() => {})
  }, `http://${address}`)
  t.equal((await daemon.get('/containers/last')).status, 200)
  t.equal(await page.evaluate(async () => (await (globalThis as unknown as Page).fetch('/session')).status), 200, 'the session of the page goes on')
})

t.test('logging out ends the page\'s stream for good', async (t) => {
  const state = await page.evaluate(async () => {
    const { EventSource, fetch } = globalThis as unknown as Page
    const source = new EventSource('/events')
    await new Promise((resolve) => { source.onopen = resolve })
    const closed = new Promise((resolve) => { source.onerror = () => { if (source.readyState === 2) resolve(source.readyState) } })
    await fetch('/session', { method: 'DELETE' })
    return await closed
  })
  t.equal(state, 2)
})

t.test('over TLS: a cookie that only this host can have set, and more streams than HTTP/1.1 would allow', async (t) => {
  const fixture = (name: string): string => join(import.meta.dirname, '../http/fixtures', name)
  const secure = await Daemon.start(['--listen', '127.0.0.1:0', '--tls-cert', fixture('one.crt'), '--tls-key', fixture('one.key')])
  t.teardown(async () => await secure.destroy())
  const url = `https://${tcpAddress(secure)}`
  const there = await context.newPage()
  await there.goto(`${url}/version`)
  const opened = await there.evaluate(async (token) => {
    const { EventSource, fetch, window = globalThis } = globalThis as unknown as Page & { window: { sources?: unknown[] } }
    await fetch('/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token }) })
    const sources = Array.from({ length: 10 }, () => new EventSource('/events'))
    Object.assign(window, { told: Promise.all(sources.map(async (source) => await new Promise((resolve) => source.addEventListener('StateCreate', resolve)))) })
    await Promise.all(sources.map(async (source) => await new Promise((resolve) => { source.onopen = resolve })))
    return sources.length
  }, firstToken(secure))
  t.equal(opened, 10, 'over HTTP/1.1 six would have opened')
  t.match(await context.cookies(url), [{ name: '__Host-longshore_session', secure: true, httpOnly: true }])
  await secure.post('/containers', { id: 'seen', bundle: await secure.bundle('trap', trap(0)), start: false })
  await there.evaluate(async () => { await (globalThis as unknown as { told: Promise<unknown> }).told })
  await there.close()
})
