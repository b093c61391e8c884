import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { EventSource as NodeEventSource } from 'eventsource'
import { launchChromium } from '../support/chromium.ts'
import { cases, watch, type Answer, type Case, type Seen } from './cases.ts'

/** `/<client>/<number of the case>`: the answers of that case, in turn. */
const asked = new Map<string, (string | null)[]>()
const server = http.createServer((request, response) => {
  const [path = '/'] = (request.url ?? '/').split('?')
  const one = cases[Number(path.split('/')[2])]
  if (one === undefined || request.headers.accept?.includes('text/event-stream') !== true) {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>')
    return
  }
  const requests = asked.get(path) ?? []
  asked.set(path, requests)
  const id = request.headers['last-event-id']
  // An id is sent as UTF-8, which Node.js takes for Latin-1.
  requests.push(typeof id === 'string' ? Buffer.from(id, 'latin1').toString() : null)
  const given: Answer = one.answers[Math.min(requests.length, one.answers.length) - 1] ?? ''
  const answer = typeof given === 'string' ? { body: given } : given
  response.writeHead(answer.status ?? 200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', ...answer.headers })
  if (answer.break === true) response.write(answer.body ?? '', () => response.destroy())
  else response.end(answer.body)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
t.teardown(() => {
  server.closeAllConnections()
  server.close()
})

/** How the client did; nothing when it did as it should. */
function faults (one: Case, seen: Seen, ids: (string | null)[]): string[] {
  const said = (what: string, found: unknown, wanted: unknown): string[] => (JSON.stringify(found) === JSON.stringify(wanted) ? [] : [`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`])
  return [
    ...(one.expected === undefined ? [] : said('messages', seen.messages.map((message, index) => (typeof one.expected?.[index] === 'string' ? message[1] : message)), one.expected)),
    ...(one.states === undefined ? [] : said('readyState at errors', seen.states.slice(0, one.states.length), one.states)),
    ...(one.ids === undefined ? [] : said('Last-Event-ID', ids.slice(0, one.ids.length), one.ids))
  ]
}

t.test('Chromium, and the eventsource package, read what the standard says and what longshore sends', async (t) => {
  const { context, close } = await launchChromium()
  t.teardown(close)
  const page = await context.newPage()
  await page.goto(base)
  Object.assign(globalThis, { EventSource: NodeEventSource })
  const run = async (client: string, index: number, one: Case): Promise<void> => {
    const { name, messages, errors, names } = one
    const given = { url: `${base}/${client}/${index}`, messages, errors, names }
    const seen = client === 'chromium' ? await page.evaluate(watch, given) : await watch(given)
    t.same(faults(one, seen, asked.get(`/${client}/${index}`) ?? []), [], `${client}: ${name}`)
  }
  // A browser has six connections for a host.
  const left = [...cases.entries()]
  await Promise.all(Array.from({ length: 5 }, async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, one] = next
      await Promise.all(['chromium', 'eventsource'].map(async (client) => await run(client, index, one)))
    }
  }))
})
