/** Containers that end unless they are renewed, also when the daemon was away. */
import t from 'tap'
import { Daemon, trap } from '../support/daemon.ts'

const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())
const bundle = await daemon.bundle('trap', trap(4))

t.test('a lease ends the container, once, whatever its policy; a renewal keeps it', async (t) => {
  const events = await daemon.events()
  const created = (await daemon.post('/containers', { id: 'kept', bundle, timeToLive: 3600 })).body
  const renewed = await daemon.post('/containers/kept/lease', { timeToLive: 7200 })
  t.equal(renewed.status, 200)
  t.ok(Date.parse(renewed.body.expiresAt) > Date.parse(created.expiresAt) + 3_000_000)
  t.match((await daemon.get('/containers/kept')).body, { expiresAt: renewed.body.expiresAt })
  const free = await daemon.post('/containers/kept/lease', { timeToLive: null })
  t.notOk('expiresAt' in free.body)
  t.match(await daemon.post('/containers/kept/lease', {}), { status: 400 })
  t.match(await daemon.post('/containers/kept/lease', { timeToLive: -1 }), { status: 400 })
  t.match(await daemon.post('/containers/none/lease', { timeToLive: 5 }), { status: 404 })

  await daemon.post('/containers', { id: 'ends', bundle, timeToLive: 3600, restartPolicy: { name: 'always', initialDelay: 0 } })
  await daemon.post('/containers/ends/lease', { timeToLive: 0.2 })
  const { data: { exit } } = await events.type('StateExit', 'ends')
  t.match(exit, { reason: /exited|signaled/ }, 'stopped as by request')
  t.same(events.types('ends'), ['StateCreate', 'StateStart', 'StateExpire', 'StateExit'])
  const ended = (await daemon.get('/containers/ends')).body
  t.match(ended, { status: 'stopped', restart: { nextAt: null, reason: 'expired' } })
  t.equal(events.events.find(({ event }) => event === 'StateExpire')?.data.expiresAt, ended.expiresAt)
  t.match(await daemon.post('/containers/ends/start'), { status: 409, body: { code: 'lease_expired' } })
  t.equal((await daemon.post('/containers/ends/lease', { timeToLive: 3600 })).status, 200)
  t.match((await daemon.post('/containers/ends/start')).body, { status: 'running' }, 'with a new lease it may run again')
  t.equal((await daemon.delete('/containers/ends?force=true')).status, 204)

  await daemon.post('/containers', { id: 'gone', bundle, timeToLive: 0.2, autoRemove: true })
  await events.type('StateDelete', 'gone')
  t.match((await daemon.get('/containers/gone/wait')).body, { outputComplete: true })
  events.close()
})

t.test('true over daemons that are killed', async (t) => {
  const events = await daemon.events()
  const ids = ['away', 'removed']
  for (const id of ids) await daemon.post('/containers', { id, bundle, timeToLive: 3600, autoRemove: id === 'removed' })
  // From here on it is a matter of the clock, and the daemon is not there to see it.
  const ends = await Promise.all(ids.map(async (id) => Date.parse((await daemon.post(`/containers/${id}/lease`, { timeToLive: 1 })).body.expiresAt)))
  await daemon.stop('SIGKILL')
  const last = events.events.at(-1)?.id ?? ''
  while (Date.now() <= Math.max(...ends)) await new Promise((resolve) => setTimeout(resolve, 50))
  await daemon.launch([], { LONGSHORE_FAILPOINT: 'lease.told' }).catch(() => {})
  await daemon.stop('SIGKILL')
  await daemon.launch()
  const resumed = await daemon.events('', { 'last-event-id': last })
  await resumed.type('StateExit', 'away')
  await resumed.type('StateDelete', 'removed')
  for (const id of ids) t.equal(resumed.types(id).filter((type) => type === 'StateExpire').length, 1, `${id}: told once, over a daemon that died behind it`)
  t.match((await daemon.get('/containers/kept')).body, { status: 'running' }, 'who has none is left alone')
  t.equal((await daemon.delete('/containers/away')).status, 204)
  resumed.close()
  events.close()
})
