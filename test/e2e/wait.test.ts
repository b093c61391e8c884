/** Waiting for an exit: before, at and after it, by run, over restarts of the daemon, and after the container has gone. */
import t from 'tap'
import { Daemon, trap, type Reply } from '../support/daemon.ts'

const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())
const bundle = await daemon.bundle('trap', trap(7))
const quick = await daemon.bundle('quick', ['/bin/true'])

/** Asks as a client does that is cut off: again, until there is an answer. */
async function persistent (path: string): Promise<Reply> {
  for (;;) {
    const reply = await daemon.get(path).catch(() => undefined)
    if (reply !== undefined && reply.status !== 503) return reply
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The daemon has so many waits that have not ended. */
async function waiting (count: number): Promise<void> {
  while (!new RegExp(`^longshore_waits ${count}$`, 'm').test((await daemon.get('/metrics')).text)) await new Promise((resolve) => setTimeout(resolve, 20))
}

t.test('everyone who waits gets the one record', async (t) => {
  const events = await daemon.events()
  const { body: { runId } } = await daemon.post('/containers', { id: 'one', bundle })
  t.equal((await daemon.get('/containers/one/wait?timeout=0')).status, 204, 'not yet')
  t.equal((await daemon.get('/containers/one/wait?timeout=0&condition=removed')).status, 204)
  t.equal((await daemon.get('/containers/one/wait?timeout=0&condition=next-exit')).status, 204)
  const before = ['', `?runId=${runId}`, '?condition=next-exit', '?condition=removed'].map(async (query) => await daemon.get(`/containers/one/wait${query}`))
  const own = daemon.get(`/containers/one/wait?condition=next-exit&after=${runId}`)
  await waiting(5)
  await daemon.post('/containers/one/stop', { timeout: 30 })
  const { data: { exit } } = await events.type('StateExit', 'one')
  const after = await daemon.get('/containers/one/wait')
  t.match(after, { status: 200, headers: { 'x-run-id': runId }, body: { status: 7 } })
  for (const reply of [...await Promise.all(before.slice(0, 3)), after]) t.same(reply.body, exit)
  t.match(await daemon.get('/containers/one/wait?timeout=0&condition=next-exit'), { status: 204 }, 'the next one is another')
  t.match(await daemon.get('/containers/one/wait?condition=never'), { status: 400, body: { code: 'bad_request' } })
  t.match(await daemon.get('/containers/one/wait?runId=other'), { status: 409, body: { code: 'no_exit' } })
  await daemon.delete('/containers/one')
  t.equal((await own).status, 404, 'the exit of the run that was named is not the next one')
  t.same((await before[3])?.body, exit, 'removed')
  for (const query of ['', `?runId=${runId}`, '?condition=removed']) t.same((await daemon.get(`/containers/one/wait${query}`)).body, exit, `after the removal ${query}`)
  t.match(await daemon.get('/containers/one/wait?condition=next-exit'), { status: 404, body: { code: 'container_not_found' } }, 'no other exit comes')
  t.match(await daemon.get('/containers/none/wait'), { status: 404, body: { code: 'container_not_found' } })
  events.close()
})

t.test('runs one after another: each by its id, none missed', async (t) => {
  const first = (await daemon.post('/containers', { id: 'runs', bundle: quick })).body.runId
  t.match(await daemon.get('/containers/runs/wait'), { body: { status: 0 }, headers: { 'x-run-id': first } })
  const second = (await daemon.post('/containers/runs/start')).body.runId
  t.match(await daemon.get(`/containers/runs/wait?runId=${second}`), { status: 200 })
  const third = (await daemon.post('/containers/runs/start')).body.runId
  t.match(await daemon.get(`/containers/runs/wait?runId=${third}`), { status: 200 })
  const seen: unknown[] = [first]
  for (;;) {
    const reply = await daemon.get(`/containers/runs/wait?condition=next-exit&timeout=0&after=${String(seen.at(-1))}`)
    if (reply.status === 204) break
    seen.push(reply.headers['x-run-id'])
  }
  t.same(seen, [first, second, third])
  const another = daemon.get(`/containers/runs/wait?condition=next-exit&after=${third}`)
  await waiting(1)
  await daemon.delete('/containers/runs')
  t.match(await another, { status: 404 }, 'it went without another exit')
  t.match(await daemon.get(`/containers/runs/wait?condition=next-exit&after=${first}`), { headers: { 'x-run-id': second } }, 'also when it has gone')
  await daemon.post('/containers', { id: 'never', bundle, start: false })
  const never = daemon.get('/containers/never/wait')
  await waiting(1)
  await daemon.delete('/containers/never')
  t.match(await never, { status: 409, body: { code: 'no_exit' } }, 'removed before it ran')
})

t.test('over a daemon that is stopped and one that is killed', async (t) => {
  const { body: one } = await daemon.post('/containers', { id: 'stays', bundle })
  const { body: two } = await daemon.post('/containers', { id: 'ends', bundle })
  const polite = daemon.get('/containers/stays/wait')
  const patient = persistent(`/containers/stays/wait?runId=${one.runId}`)
  await waiting(2)
  await daemon.stop('SIGTERM')
  t.match(await polite, { status: 503, headers: { 'retry-after': '1' }, body: { code: 'not_ready' } }, 'sent home in order')
  await daemon.launch()
  await waiting(1)
  const missed = persistent(`/containers/ends/wait?runId=${two.runId}`)
  await waiting(2)
  await daemon.stop('SIGKILL')
  process.kill(two.pid, 'SIGKILL')
  await daemon.launch()
  t.match((await missed).body, { status: 137, signal: 'SIGKILL' }, 'ended while no daemon was there')
  await daemon.post('/containers/stays/stop', { timeout: 30 })
  t.match((await patient).body, { status: 7 })
})
