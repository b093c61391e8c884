import t from 'tap'
import { execFile } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Daemon, trap } from '../support/daemon.ts'

t.test('a container from create to delete, over HTTP and on the event stream', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('trap', trap(42))
  const events = await daemon.events()

  const created = await daemon.post('/containers', { id: 'web-1', bundle, labels: { app: 'web' } })
  t.equal(created.status, 201)
  t.equal(created.headers.location, '/containers/web-1')
  t.match(created.body, { id: 'web-1', status: 'running', bundle, runtime: 'runc', labels: { app: 'web' }, exit: null })
  t.match(created.body.processes, [{ id: 'init', status: 'running', pid: created.body.pid }])
  t.ok(created.headers['x-request-id'])

  const read = await daemon.get('/containers/web-1')
  t.same(read.body, created.body)

  t.equal((await daemon.post('/containers/web-1/signal', { signal: 0 })).status, 204)
  await daemon.trapped('web-1')
  t.equal((await daemon.post('/containers/web-1/signal', { signal: 'SIGTERM' }, { 'x-request-id': 'the-cause' })).status, 204)

  const exit = await events.type('StateExit')
  t.match(exit.data, { containerId: 'web-1', runId: created.body.runId, processId: 'init', pid: created.body.pid, labels: { app: 'web' } })
  t.match(exit.data.exit, { status: 42, signal: null, oomKilled: false, reason: 'exited', outputComplete: true })
  t.match(exit.data.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)

  const after = await daemon.get('/containers/web-1')
  t.match(after.body, { status: 'stopped', pid: null, lastEventId: exit.id })
  t.same(after.body.exit, exit.data.exit, 'GET and the event show one record')
  t.same((await daemon.get('/containers/web-1/wait')).body, exit.data.exit, 'so does wait')
  t.equal((await daemon.post('/containers/web-1/signal', { signal: 'TERM' })).body.code, 'container_not_running')

  t.equal((await daemon.delete('/containers/web-1')).status, 204)
  await events.type('StateDelete')
  t.same(events.types('web-1'), ['StateCreate', 'StateStart', 'StateExit', 'StateDelete'])
  t.equal((await daemon.get('/containers/web-1')).status, 404)
  t.same((await daemon.get('/containers/web-1/wait')).body, exit.data.exit, 'the exit outlives the container')
  const sequences = events.events.map(({ id }) => Number(id.split(':')[1]))
  t.same(sequences, sequences.map((_, index) => (sequences[0] ?? 0) + index), 'ids have no holes')
  events.close()

  t.same(await daemon.shims(), [], 'no shim is left')
  t.same(await readdir(join(daemon.state, 'runs')), [], 'no run directory is left')
  t.same(await readdir(join(daemon.root, 'containers')), [])
  t.equal((await stat(daemon.root)).mode & 0o777, 0o700)
  t.equal((await stat(daemon.state)).mode & 0o777, 0o700)
  t.equal((await stat(daemon.socket)).mode & 0o777, 0o660)
})

t.test('the ends that a process can have', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  for (const [id, command, expected] of [
    ['zero', ['/bin/true'], { status: 0, signal: null, reason: 'exited' }],
    ['seven', ['/bin/sh', '-c', 'exit 7'], { status: 7, signal: null, reason: 'exited' }],
    ['killed', ['/bin/sleep', '1000'], { status: 137, signal: 'SIGKILL', reason: 'signaled', oomKilled: false }]
  ] as const) {
    const bundle = await daemon.bundle(id, [...command])
    t.equal((await daemon.post('/containers', { id, bundle })).status, 201)
    if (id === 'killed') t.equal((await daemon.post(`/containers/${id}/signal`, { signal: 9 })).status, 204)
    t.match((await events.type('StateExit', id)).data.exit, expected)
    t.match((await daemon.get(`/containers/${id}/wait`)).body, expected)
  }

  const shell = await daemon.bundle('usr', ['/bin/sh', '-c', 'trap "exit 11" USR1; trap "exit 12" 37; while :; do sleep 1 & wait; done'])
  for (const [signal, status] of [['usr1', 11], ['SIGRTMIN+3', 12]] as const) {
    await daemon.post('/containers', { id: `s${status}`, bundle: shell })
    // The shell needs its traps first; until then the signal is ignored by an init without a handler.
    const waiting = daemon.get(`/containers/s${status}/wait`)
    let done = false
    void waiting.then(() => { done = true })
    while (!done) {
      await daemon.post(`/containers/s${status}/signal`, { signal })
      await new Promise((resolve) => setImmediate(resolve))
    }
    t.match((await waiting).body, { status })
  }

  const deaf = await daemon.bundle('deaf', ['/bin/sleep', '1000'])
  await daemon.post('/containers', { id: 'deaf', bundle: deaf })
  const stopped = await daemon.post('/containers/deaf/stop', { timeout: 1 })
  t.equal(stopped.status, 200)
  t.match(stopped.body, { status: 'stopped', exit: { status: 137, signal: 'SIGKILL' } }, 'an init that ignores SIGTERM is killed after its grace')
  t.equal((await daemon.post('/containers/deaf/stop', {})).status, 200, 'stop of a stopped one is no error')
  events.close()
})

t.test('created, started, started again; removed by itself', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('trap', trap(3))
  const created = await daemon.post('/containers', { id: 'two', bundle, start: false })
  t.match(created.body, { status: 'created', startedAt: null })
  t.ok(created.body.pid > 0, 'init waits for its start')
  t.equal((await daemon.post('/containers/two/start')).body.status, 'running')
  t.equal((await daemon.post('/containers/two/start')).body.code, 'container_running')
  await daemon.trapped('two')
  await daemon.post('/containers/two/stop', { timeout: 30 })
  const again = await daemon.post('/containers/two/start')
  t.equal(again.status, 200)
  t.not(again.body.runId, created.body.runId, 'a new run')
  t.equal((await daemon.delete('/containers/two')).body.code, 'container_running')
  t.equal((await daemon.delete('/containers/two?force=true')).status, 204)
  t.same(events.types('two'), ['StateCreate', 'StateStart', 'StateExit', 'StateStart', 'StateExit', 'StateDelete'])

  await daemon.post('/containers', { id: 'never', bundle, start: false })
  t.equal((await daemon.delete('/containers/never')).status, 204, 'created and never started')
  t.same(events.types('never'), ['StateCreate', 'StateDelete'])

  const quick = await daemon.bundle('quick', ['/bin/true'])
  await daemon.post('/containers', { id: 'auto', bundle: quick, autoRemove: true })
  await events.type('StateDelete', 'auto')
  t.match((await daemon.get('/containers/auto/wait?condition=removed')).body, { status: 0 })

  const overlay = await daemon.post('/containers', { id: 'over', bundle: quick, process: { args: ['/bin/sh', '-c', 'exit $CODE'], env: ['PATH=/bin', 'CODE=9'] } })
  t.equal(overlay.status, 201)
  t.match((await daemon.get('/containers/over/wait')).body, { status: 9 })
  t.equal((await daemon.delete('/containers/over')).status, 204)
  t.same(await daemon.shims(), [], 'torn down with the last word')
  events.close()
})

t.test('paused from outside, a container can still be deleted', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'ice', bundle })
  await promisify(execFile)('runc', ['--root', join(daemon.state, 'runtime'), 'pause', `ice.${body.runId}`])
  t.equal((await daemon.delete('/containers/ice?force=true')).status, 204, 'it is thawed')
  t.match((await daemon.get('/containers/ice/wait')).body, { status: 137 })
})

t.test('a daemon that is stopped or killed comes back to its containers and to the exits it missed', async (t) => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const daemon = await Daemon.start()
    t.teardown(async () => await daemon.destroy())
    const events = await daemon.events()
    const bundle = await daemon.bundle('trap', trap(42))
    const stays = await daemon.post('/containers', { id: 'stays', bundle })
    const leaves = await daemon.post('/containers', { id: 'leaves', bundle })
    const fresh = await daemon.post('/containers', { id: 'fresh', bundle, start: false })
    const last = events.events.at(-1)?.id ?? ''
    const code = await daemon.stop(signal)
    if (signal === 'SIGTERM') t.equal(code, 0)
    process.kill(leaves.body.pid, 'SIGKILL')
    await daemon.launch()
    const resumed = await daemon.events('', { 'last-event-id': last })
    const exit = await resumed.type('StateExit', 'leaves')
    t.match(exit.data, { runId: leaves.body.runId, exit: { status: 137, signal: 'SIGKILL', reason: 'signaled' } })
    t.match((await daemon.get('/containers/stays')).body, { status: 'running', pid: stays.body.pid, runId: stays.body.runId })
    t.match((await daemon.get('/containers/fresh')).body, { status: 'created', pid: fresh.body.pid })
    t.equal((await daemon.post('/containers/fresh/start')).status, 200)
    await daemon.trapped('stays')
    await daemon.post('/containers/stays/stop', { timeout: 30 })
    t.match((await resumed.type('StateExit', 'stays')).data.exit, { status: 42 })
    t.same(resumed.types('leaves'), ['StateExit'], 'nothing is told twice')
    events.close()
    resumed.close()
  }
})
