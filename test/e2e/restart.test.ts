/** Restart policies on real containers: what is told, what stops them, and a daemon that is killed at each step of a try. */
import t from 'tap'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, type EventReader } from '../support/daemon.ts'

const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())
const soon = { initialDelay: 0.01, jitter: 0, resetAfter: 3600 }

/** The container's events, without those of other containers, from the beginning. */
async function history (id: string): Promise<any[]> { // any: the wire
  return (await daemon.get(`/containers/${id}/events?follow=false`)).body.items
}

/** Asks until the container looks like this. */
async function until (id: string, wanted: (container: any) => boolean): Promise<any> { // any: the wire
  for (const deadline = Date.now() + 60_000; ;) {
    const { body } = await daemon.get(`/containers/${id}`)
    if (wanted(body)) return body
    if (Date.now() > deadline) throw new Error(`${id} does not come to look as it should: ${JSON.stringify(body)}`)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
}

async function exits (events: EventReader, id: string, count: number): Promise<void> {
  await events.next(() => events.events.filter(({ event, data }) => event === 'StateExit' && data.containerId === id).length >= count, 60)
}

t.test('on-failure gives up after so many tries, and hides none of the exits', async (t) => {
  const events = await daemon.events()
  const bundle = await daemon.bundle('fails', ['/bin/sh', '-c', 'exit 3'])
  const created = await daemon.post('/containers', { id: 'fails', bundle, restartPolicy: { name: 'on-failure', maxAttempts: 2, ...soon } })
  t.match(created.body, { restartPolicy: { name: 'on-failure', maxAttempts: 2, factor: 2, maxDelay: 60 } })
  await exits(events, 'fails', 3)
  t.match(await until('fails', ({ restart }) => restart.reason === 'gave-up'), { status: 'stopped', exit: { status: 3 }, restart: { attempts: 2, nextAt: null } })
  const told = (await history('fails')).filter(({ type }) => type !== 'StateCreate')
  const once = ['StateStart', 'StateExit', 'StateRestartScheduled']
  t.same(told.map(({ type }) => type), [...once, ...once, 'StateStart', 'StateExit'])
  t.same(told.filter(({ type }) => type === 'StateRestartScheduled').map(({ restart }) => [restart.attempts, restart.reason]), [[1, 'failed'], [2, 'failed']])
  t.equal(new Set(told.map(({ runId }) => runId)).size, 3, 'three runs, each with its own exit')
  for (const { runId } of told.filter(({ type }) => type === 'StateExit')) t.match((await daemon.get(`/containers/fails/wait?runId=${runId}`)).body, { status: 3 })

  const ends = await daemon.bundle('ends', ['/bin/true'])
  await daemon.post('/containers', { id: 'ends', bundle: ends, restartPolicy: { name: 'on-failure' } })
  t.match(await until('ends', ({ status }) => status === 'stopped'), { restart: { attempts: 0, nextAt: null, reason: 'succeeded' } })
  t.match(await daemon.post('/containers', { id: 'both', bundle: ends, autoRemove: true, restartPolicy: { name: 'always' } }), { status: 400, body: { errors: [{ field: 'restartPolicy' }] } })
  t.match(await daemon.post('/containers', { bundle: ends, restartPolicy: { name: 'sometimes' } }), { status: 400, body: { code: 'bad_request' } })
  events.close()
})

t.test('a stop holds; a start begins anew; always comes back with the daemon', async (t) => {
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleeps', ['/bin/sleep', '100000'])
  for (const name of ['always', 'unless-stopped']) {
    const { body } = await daemon.post('/containers', { id: name, bundle, restartPolicy: { name, ...soon } })
    await daemon.post(`/containers/${name}/signal`, { signal: 'KILL' })
    await until(name, ({ status, runId }) => status === 'running' && runId !== body.runId)
    t.match(await daemon.post(`/containers/${name}/stop`, { timeout: 0 }), { status: 200, body: { status: 'stopped', restart: { nextAt: null, reason: 'stopped' } } })
  }
  // A try that is due in an hour: shown, told, and made void by a stop or by another policy.
  await daemon.post('/containers', { id: 'waits', bundle, restartPolicy: { name: 'always', initialDelay: 3600, maxDelay: 3600 } })
  await daemon.post('/containers/waits/signal', { signal: 'KILL' })
  const { data } = await events.type('StateRestartScheduled', 'waits')
  const waiting = (await daemon.get('/containers/waits')).body
  t.same(waiting.restart, data.restart, 'GET and the event say the same')
  t.ok(Date.parse(waiting.restart.nextAt) > Date.parse(waiting.exit.exitedAt) + 3_000_000)
  t.match((await daemon.post('/containers/waits/start')).body, { status: 'running', restart: { attempts: 0, nextAt: null } })
  await daemon.post('/containers/waits/signal', { signal: 'KILL' })
  await until('waits', ({ restart }) => restart.nextAt !== null)
  t.match((await daemon.post('/containers/waits/stop')).body, { restart: { nextAt: null, reason: 'stopped' } })
  await daemon.post('/containers/waits/start')
  await daemon.post('/containers/waits/signal', { signal: 'KILL' })
  await until('waits', ({ restart }) => restart.nextAt !== null)
  const withdrawn = await daemon.request('PUT', '/containers/waits/restart-policy', { name: 'no' })
  t.match(withdrawn, { status: 200, body: { restartPolicy: { name: 'no' }, restart: { nextAt: null, reason: 'withdrawn' } } })
  await events.type('StateUpdate', 'waits')
  t.equal((await daemon.delete('/containers/waits')).status, 204)

  // Stopped while it is being started again, at whichever moment: it is stopped then, and stays so.
  await daemon.post('/containers', { id: 'raced', bundle, restartPolicy: { name: 'unless-stopped', ...soon, initialDelay: 0 } })
  for (let round = 0; round < 3; round++) {
    const { runId } = (await daemon.get('/containers/raced')).body
    await daemon.post('/containers/raced/signal', { signal: 'KILL' })
    await events.next(() => events.events.some(({ event, data }) => event === 'StateExit' && data.runId === runId), 60)
    t.match((await daemon.post('/containers/raced/stop', { timeout: 0 })).body, { status: 'stopped', restart: { nextAt: null } })
    t.match((await daemon.post('/containers/raced/start')).body, { status: 'running' })
  }
  await daemon.post('/containers/raced/stop', { timeout: 0 })

  await daemon.stop('SIGKILL')
  await daemon.launch()
  t.match(await until('always', ({ status }) => status === 'running'), { restart: { nextAt: null, reason: 'daemon-started' } })
  t.notMatch(daemon.output, '"repair":"orphan"', 'what is started at once is not taken for a run without a record')
  for (const id of ['unless-stopped', 'raced']) t.match((await daemon.get(`/containers/${id}`)).body, { status: 'stopped', restart: { nextAt: null } })
  for (const id of ['always', 'unless-stopped', 'raced']) t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
  events.close()
})

t.test('a daemon that dies at any step of a try neither loses nor doubles it', async (t) => {
  await daemon.stop()
  for (const [point, failedStarts] of [['exit.told', 0], ['restart.decided', 0], ['restart.told', 0], ['restart.due', 0], ['create.recorded:2', 1], ['start.called:2', 0], ['start.told:2', 0]] as const) {
    const id = point.replace(':', '-')
    const bundle = await daemon.bundle(id, ['/bin/sh', '-c', 'echo x >> /runs; [ -e /once ] && exit 0; touch /once; exit 5'])
    await daemon.launch([], { LONGSHORE_FAILPOINT: point })
    const { child } = daemon
    const died = child === undefined ? undefined : once(child, 'exit')
    await daemon.post('/containers', { id, bundle, restartPolicy: { name: 'on-failure', ...soon } }).catch(() => {})
    await died
    await daemon.launch()
    await until(id, ({ restart }) => restart.reason === 'succeeded')
    const told = await history(id)
    const count = (type: string): number => told.filter((event) => event.type === type).length
    t.equal(await readFile(join(bundle, 'rootfs/runs'), 'utf8'), 'x\nx\n', `${point}: its command ran twice`)
    t.same(told.filter(({ type }) => type === 'StateExit').map(({ exit }) => exit.status), [5, 0], `${point}: two exits`)
    t.equal(count('StateStartFailed'), failedStarts, `${point}: a try that was cut off is told as such`)
    t.same(told.filter(({ type }) => type === 'StateRestartScheduled').map(({ restart }) => restart.attempts), failedStarts === 0 ? [1] : [1, 2], `${point}: each try told once`)
    t.match((await daemon.get(`/containers/${id}`)).body.restart, { attempts: 1 + failedStarts }, `${point}: and counted once`)
    await daemon.delete(`/containers/${id}`)
    await daemon.stop()
  }
  await daemon.launch()
  t.same(await daemon.shims(), [])
})
