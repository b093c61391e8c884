/** Records are written a moment after the event: a daemon that is killed in between leaves one that is behind. */
import t from 'tap'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, trap } from '../support/daemon.ts'

t.test('what the record does not say yet, the next daemon finds in the journal and with the shim', async (t) => {
  const daemon = await Daemon.start([], { LONGSHORE_FAILPOINT: 'start.told' })
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('trap', trap(6))
  await t.rejects(daemon.post('/containers', { id: 'behind', bundle, labels: { a: 'b' } }), 'it dies once the start is told')
  await daemon.stop('SIGKILL')
  const record = JSON.parse(await readFile(join(daemon.root, 'containers/behind/container.json'), 'utf8'))
  t.match(record, { run: { phase: /^creat/, startedAt: null } }, 'the record knows nothing of it')

  await daemon.launch()
  const { items } = (await daemon.get('/events?from=earliest&follow=false&limit=100', { accept: 'application/json' })).body
  const started = items.find(({ type }: { type: string }) => type === 'StateStart')
  const { body } = await daemon.get('/containers/behind')
  t.match(body, { status: 'running', pid: started.pid, startedAt: started.timestamp, lastEventId: started.id, labels: { a: 'b' } }, 'as it was told')
  await daemon.stop('SIGKILL')
  await daemon.launch()
  t.same((await daemon.get('/containers/behind')).body, body, 'and the same again')

  t.equal((await daemon.post('/containers/behind/signal', { signal: 'TERM' })).status, 204)
  t.match((await daemon.get('/containers/behind/wait')).body, { status: 6 })
  await daemon.stop('SIGKILL')
  await daemon.launch()
  t.match((await daemon.get('/containers/behind')).body, { status: 'stopped', exit: { status: 6 } }, 'an exit too')
  t.equal((await daemon.delete('/containers/behind')).status, 204)
})

t.test('the start as it is seen is the start as it is told', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events('from=now')
  t.teardown(() => events.close())
  const { body } = await daemon.post('/containers', { id: 'one', bundle: await daemon.bundle('trap', trap(6)) })
  t.equal(body.startedAt, (await events.type('StateStart', 'one')).data.timestamp)
  await daemon.stop()
  const record = JSON.parse(await readFile(join(daemon.root, 'containers/one/container.json'), 'utf8'))
  t.match(record, { run: { phase: 'running', pid: body.pid, startedAt: body.startedAt } }, 'an orderly stop writes down what was to be written soon')
  await daemon.launch()
})
