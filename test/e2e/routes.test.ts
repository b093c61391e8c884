/**
 * Every operation of the description, with requests made at random from its own schemas and with what they forbid: none is
 * answered 5xx, none with a status that the description does not list, and the daemon goes on. RUNS: how many (400).
 */
import t from 'tap'
import fc from 'fast-check'
import http from 'node:http'
import { Daemon, trap } from '../support/daemon.ts'

type Schema = any // any: JSON Schema, as the description has it
type Operation = { method: string, path: string, parameters: { name: string, in: string, schema?: Schema }[], body: Schema, responses: string[] }
type Request = { operation: Operation, path: string, headers: Record<string, string>, body: string | undefined }

const runs = Number(process.env.RUNS ?? 400)
/** milliseconds after which a stream or a long poll is left; both are answers that go on */
const patience = 300
/** What the runtime, not the daemon, said no to: it was asked in good faith. */
const refusedByRuntime = new Set(['runtime_failed', 'runtime_crashed', 'runtime_not_found', 'checkpoint_failed'])

const daemon = await Daemon.start(['--start-timeout', '60'])
t.teardown(async () => await daemon.destroy())
t.setTimeout(460_000)
const bundle = await daemon.bundle('trap', trap(0))
const description = (await daemon.get('/openapi.json')).body

const resolve = (schema: Schema): Schema => (typeof schema?.$ref === 'string' ? description.components.schemas[schema.$ref.split('/').at(-1)] : schema)
const operations: Operation[] = Object.entries(description.paths as Record<string, Record<string, any>>).flatMap(([path, methods]) => Object.entries(methods).filter(([method]) => method !== 'parameters').map(([method, operation]) => ({
  method: method.toUpperCase(),
  path,
  parameters: [...(methods.parameters ?? []), ...(operation.parameters ?? [])],
  body: Object.values<any>(operation.requestBody?.content ?? {})[0]?.schema,
  responses: Object.keys(operation.responses)
})))

const odd = fc.constantFrom<unknown>('', ' ', '..', '../../etc', '/', 'a/b', '\u0000', '%', '💥', 'x'.repeat(5000), 'null', null, true, -1, 0, 1.5, 1e300, 2 ** 53, [], {}, [[]], { a: {} }, '__proto__', 'constructor')
const word = fc.oneof(fc.constantFrom('live', 'none', 'init', 'a', 'x1', 'TERM', 'KILL', '0', 'now', 'earliest', bundle, '/bin/true', 'PATH=/bin', 'runc', '/bin/false', '1s', '2026-01-01T00:00:00Z'), fc.string({ maxLength: 12 }))

/** Values of a schema, and now and then one that is not of it. */
function valueOf (given: Schema, depth = 0): fc.Arbitrary<unknown> {
  const schema = resolve(given)
  if (schema === undefined || depth > 4) return odd
  let good: fc.Arbitrary<unknown>
  const either = schema.anyOf ?? schema.oneOf ?? schema.allOf
  if (schema.const !== undefined) good = fc.constant(schema.const)
  else if (schema.enum !== undefined) good = fc.constantFrom(...schema.enum)
  else if (Array.isArray(either)) good = fc.oneof(...either.map((one: Schema) => valueOf(one, depth + 1)))
  else if (schema.type === 'object') {
    const named = Object.entries(schema.properties ?? {}).map(([name, property]) => [name, name === 'bundle' ? fc.oneof({ weight: 4, arbitrary: fc.constant(bundle) }, { weight: 1, arbitrary: odd }) : valueOf(property, depth + 1)] as const)
    good = fc.record(Object.fromEntries(named) as Record<string, fc.Arbitrary<unknown>>, { requiredKeys: (schema.required ?? []).filter((name: string) => named.some(([one]) => one === name)) })
  } else if (schema.type === 'array') good = fc.array(valueOf(schema.items, depth + 1), { maxLength: 3 })
  else if (schema.type === 'integer') good = fc.integer({ min: Math.max(schema.minimum ?? -5, -(2 ** 31)), max: Math.min(schema.maximum ?? 100, (schema.minimum ?? 0) + 100) })
  else if (schema.type === 'number') good = fc.double({ min: schema.minimum ?? 0, max: Math.min(schema.maximum ?? 2, (schema.minimum ?? 0) + 2), noNaN: true })
  else if (schema.type === 'boolean') good = fc.boolean()
  else good = word
  return fc.oneof({ weight: 9, arbitrary: good }, { weight: 1, arbitrary: odd })
}

const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
const noise = fc.constantFrom('', '{', '[]', 'null', '"x"', '{"a":1', '\u0000', `${'['.repeat(20_000)}`, '{"bundle":"/a","bundle":1}', '{"__proto__":{"x":1}}', 'x'.repeat(70_000))

const requests: fc.Arbitrary<Request> = fc.constantFrom(...operations).chain((operation) => {
  const given = (where: string): fc.Arbitrary<Record<string, unknown>> => fc.record(Object.fromEntries(operation.parameters.filter((one) => one.in === where).map(({ name, schema }) => [name, where === 'path' && name === 'id' ? fc.oneof({ weight: 3, arbitrary: fc.constant('live') }, { weight: 1, arbitrary: word }) : valueOf(schema)])), where === 'path' ? {} : { requiredKeys: [] })
  return fc.record({ path: given('path'), query: given('query'), header: given('header'), body: operation.body === undefined ? fc.constant(undefined) : fc.oneof({ weight: 6, arbitrary: valueOf(operation.body).map((value) => JSON.stringify(value)) }, { weight: 1, arbitrary: noise }), type: fc.constantFrom('application/json', 'application/json', 'application/json', 'application/merge-patch+json', 'text/plain', 'nonsense'), accept: fc.constantFrom('*/*', 'application/json', 'text/event-stream', 'application/x-ndjson', 'text/plain', 'nonsense') })
    .map(({ path, query, header, body, type, accept }) => {
      const filled = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(text(path[name] ?? 'x')).replaceAll('%', '%').replace(/^\.+$/, '%2E'))
      const search = Object.entries(query).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => `${name}=${encodeURIComponent(text(one).toWellFormed())}`)).join('&')
      const headers = Object.fromEntries(Object.entries(header).map(([name, value]) => [name.toLowerCase(), text(value).replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 2000)]))
      return { operation, path: search === '' ? filled : `${filled}?${search}`, headers: { accept, ...headers, ...(body === undefined ? {} : { 'content-type': type }) }, body }
    })
})

/** The status; the body too where it ends in time. */
async function ask ({ operation, path, headers, body }: Request): Promise<{ status: number, body: any }> {
  return await new Promise((resolve, reject) => {
    const request = http.request({ socketPath: daemon.socket, agent: daemon.agent, method: operation.method, path, headers }, (response) => {
      let answer = ''
      const done = (): void => {
        clearTimeout(timer)
        let parsed: unknown
        try { parsed = JSON.parse(answer) } catch { parsed = undefined }
        resolve({ status: response.statusCode ?? 0, body: parsed })
      }
      const timer = setTimeout(() => { request.destroy(); done() }, patience)
      response.setEncoding('utf8').on('data', (chunk: string) => { answer += chunk }).on('end', done).on('error', done)
    })
    // A long poll, or a busy machine: leaving is no answer, and none is judged.
    const timer = setTimeout(() => { request.destroy(); resolve({ status: 0, body: undefined }) }, /wait/.test(path) ? patience : 60_000)
    request.on('response', () => clearTimeout(timer))
    request.on('error', (error) => { clearTimeout(timer); if (request.destroyed) resolve({ status: 0, body: undefined }); else reject(error) })
    request.end(body)
  })
}

t.test(`${runs} requests to ${operations.length} operations`, async (t) => {
  const statuses = new Map<number, number>()
  await fc.assert(fc.asyncProperty(requests, async (request) => {
    if ((await daemon.get('/containers/live')).status === 404) await daemon.post('/containers', { id: 'live', bundle })
    const { status, body } = await ask(request)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    const story = `${request.operation.method} ${request.path} ${JSON.stringify(request.headers)} ${request.body ?? ''} → ${status} ${JSON.stringify(body)}`
    if (daemon.child?.exitCode !== null) throw new Error(`the daemon ended: ${story}`)
    if (status >= 500 && !refusedByRuntime.has(body?.code)) throw new Error(story)
    if (status !== 0 && !request.operation.responses.includes(String(status)) && !request.operation.responses.includes('default')) throw new Error(`not described: ${story}`)
    if (status >= 400 && typeof body?.code !== 'string') throw new Error(`no problem document: ${story}`)
  }), { numRuns: runs, seed: Number(process.env.SEED ?? 42), endOnFailure: process.env.SHRINK === undefined, interruptAfterTimeLimit: 300_000, markInterruptAsFailure: false })
  t.comment(JSON.stringify(Object.fromEntries(statuses)))
  t.equal((await daemon.get('/healthz')).status, 200)
  t.notMatch(daemon.output, /"level":60/, 'nothing fatal')
})
