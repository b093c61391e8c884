/** Idempotency-Key: one answer for one request, whatever becomes of its client and of the file. */
import t from 'tap'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyReply } from 'fastify'
import { idempotency } from '../../src/http/idempotency.ts'
import { problemHandlers } from '../../src/http/problem.ts'
import { answer } from '../../src/routes/answer.ts'
import { Task } from '../../src/supervisor/task.ts'

class Slow extends Task<void> {
  readonly kind = 'signal'
  execute (): void {}
}

const directory = await mkdtemp(join(tmpdir(), 'longshore-keys-'))
const kept = join(directory, 'kept')
const app = Fastify()
problemHandlers(app)
await idempotency(app, { directory: kept })
const task = new Slow('one')
let taken: (raw: FastifyReply['raw']) => void = () => {}
app.post('/signal', (request, reply) => {
  taken(reply.raw)
  return answer(request, reply, { begin: () => {} }, task, () => { void reply.code(204) })
})
app.post('/count', async () => ({ count: ++count }))
let count = 0
await app.listen({ path: join(directory, 'socket') })
t.teardown(async () => {
  await app.close()
  await rm(directory, { recursive: true })
})
const post = async (url: string, key: string): Promise<{ status: number, replayed: boolean, body: string }> => {
  const { statusCode, headers, body } = await app.inject({ method: 'POST', url, headers: { 'idempotency-key': key } })
  return { status: statusCode, replayed: headers['idempotency-replayed'] === 'true', body }
}

t.test('a client that goes away before its answer finds it when it comes back', async (t) => {
  const handled = new Promise<FastifyReply['raw']>((resolve) => { taken = resolve })
  const client = net.connect(join(directory, 'socket'))
  client.write('POST /signal HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: left\r\n\r\n')
  const raw = await handled
  t.match(await post('/signal', 'left'), { status: 409, body: /request_in_progress/ })
  const gone = once(raw, 'close')
  client.destroy()
  await gone
  t.equal((await post('/signal', 'left')).status, 409, 'what it asked for still goes on')
  task.succeed()
  let again = await post('/signal', 'left')
  // The answer is written to the disk first.
  for (const end = Date.now() + 5000; again.status === 409 && Date.now() < end; again = await post('/signal', 'left')) await turn()
  t.match(again, { status: 204, replayed: true, body: '' })
})

t.test('a file that is damaged counts as none, and is written anew', async (t) => {
  const before = new Set(await readdir(kept))
  t.match(await post('/count', 'damaged'), { status: 200, replayed: false, body: '{"count":1}' })
  const [name = ''] = (await readdir(kept)).filter((one) => !before.has(one))
  for (const [n, text] of ['{"fingerpr', 'null', '{}', '[]', ''].entries()) {
    await writeFile(join(kept, name), text)
    t.match(await post('/count', 'damaged'), { status: 200, replayed: false, body: `{"count":${n + 2}}` }, `as ${JSON.stringify(text)}`)
    t.match(await post('/count', 'damaged'), { replayed: true, body: `{"count":${n + 2}}` })
  }
})
