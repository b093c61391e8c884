import t from 'tap'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { errorCodes } from '../../src/errors.ts'
import { stamp } from '../../scripts/client-types.ts'
import { describeApi, makeApi, readProject } from '../support/api.ts'

const run = promisify(execFile)

t.test('openapi.yaml says what the routes say', async (t) => {
  t.equal(await readProject('openapi.yaml'), await describeApi(), 'run `make openapi` after a change of the routes')
})

t.test("the client's types are those of openapi.yaml", async (t) => {
  const made = stamp(await readProject('openapi.yaml'))
  for (const name of ['types', 'operations']) t.ok((await readProject(`src/client/${name}.gen.ts`)).startsWith(made), `run \`make openapi\`: ${name}.gen.ts is of another description`)
})

t.test('code, OpenAPI and docs/errors.md list the same errors', async (t) => {
  const codes = Object.keys(errorCodes).sort()
  const api = parse(await readProject('openapi.yaml'))
  t.same([...api.components.schemas.Problem.properties.code.enum].sort(), codes)
  const rows = [...(await readProject('docs/errors.md')).matchAll(/^\| `([a-z_]+)` \| (\d+) \| (.+?) \|/gm)]
  t.same(rows.map(([, code, status, title]) => ({ code, status: Number(status), title })).sort((a, b) => (String(a.code) < String(b.code) ? -1 : 1)),
    codes.map((code) => ({ code, ...errorCodes[code as keyof typeof errorCodes] })))
})

t.test('every operation has a name, a summary and problems', async (t) => {
  const api = parse(await readProject('openapi.yaml'))
  for (const [path, operations] of Object.entries<Record<string, any>>(api.paths)) { // any: a parsed document
    for (const [method, operation] of Object.entries(operations)) {
      t.ok(operation.operationId && operation.summary, `${method} ${path}`)
      t.ok(Object.keys(operation.responses).some((status) => status.startsWith('4')), `${method} ${path} has problems`)
    }
  }
})

t.test('every option is in --help', async (t) => {
  const { stdout } = await run(new URL('../../bin/longshored', import.meta.url).pathname, ['--help'])
  for (const flag of ['--root', '--state', '--socket', '--listen', '--token-file', '--runtime', '--runtime-arg', '--start-timeout', '--retain-events', '--retain-days', '--heartbeat', '--log-level', '--max-queued-tasks']) {
    t.match(stdout, flag)
  }
  t.match(stdout, 'LONGSHORE_ROOT')
  await t.rejects(run(new URL('../../bin/longshored', import.meta.url).pathname, ['--retain-events', 'many']), { code: 1, stderr: /whole number/ })
})

t.test('the same Idempotency-Key gets the first answer again', async (t) => {
  const api = await makeApi()
  t.teardown(async () => await api.close())
  const post = async (key: string, payload: object): Promise<any> => await api.app.inject({ method: 'POST', url: '/containers', headers: { 'idempotency-key': key }, payload }) // any: a response of inject
  const first = await post('one', { bundle: '/nowhere' })
  const again = await post('one', { bundle: '/nowhere' })
  t.equal(first.statusCode, 422)
  t.equal(again.statusCode, 422)
  t.equal(again.headers['idempotency-replayed'], 'true')
  t.equal(again.body, first.body)
  t.notOk(first.headers['idempotency-replayed'])
  t.equal((await post('one', { bundle: '/elsewhere' })).json().code, 'idempotency_key_reused')
  t.equal((await post('two', { bundle: '/elsewhere' })).json().code, 'invalid_bundle')
})
