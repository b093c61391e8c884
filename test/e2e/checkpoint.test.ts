/** Checkpoints and restores, on a runtime that fakes what CRIU does; and the true refusal where CRIU does not work. */
import t from 'tap'
import { once } from 'node:events'
import { readFile, readdir, stat, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Failpoint } from '../../src/failpoints.ts'
import { checkpointingRuntime } from '../support/checkpointing.ts'
import { Daemon, trap } from '../support/daemon.ts'

const events = async (daemon: Daemon, id: string): Promise<any[]> => (await daemon.get(`/events?from=earliest&follow=false&container=${id}`, { accept: 'application/json' })).body.items // any: the wire

t.test('made, listed, restored, deleted', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const runtime = await checkpointingRuntime(join(daemon.directory, 'fake'))
  // A CRIU that says no: those runtimes that need it are refused, with its words.
  const bin = join(daemon.directory, 'bin')
  await mkdir(bin)
  await writeFile(join(bin, 'criu'), '#!/bin/sh\n[ "$1" = --version ] && { echo "Version: 3.99"; exit 0; }\necho "Warn  (criu/kerndat.c:1): odd"\necho "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds" >&2\nexit 1\n', { mode: 0o755 })
  await daemon.launch(['--runtime', runtime.path, '--listen', '127.0.0.1:0'], { PATH: `${bin}:${process.env.PATH ?? ''}` })
  const bundle = await daemon.bundle('trap', trap(3))
  const seen = await daemon.events()
  t.same((await daemon.get('/info')).body.criu, { available: false, path: join(bin, 'criu'), version: '3.99', reason: 'Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds' })

  await daemon.post('/containers', { id: 'plain', bundle, runtime: 'runc' })
  t.match(await daemon.post('/containers/plain/checkpoints', { name: 'a' }), { status: 409, body: { code: 'checkpoint_unavailable', detail: /runc needs CRIU.*Unexpected rt vDSO area bounds/ } })
  t.equal((await daemon.get('/containers/plain')).body.status, 'running')

  const { body: source } = await daemon.post('/containers', { id: 'one', bundle, process: { env: ['PATH=/bin', 'X=1'] }, labels: { app: 'web' }, restartPolicy: { name: 'always', initialDelay: 0.1 } })
  const made = await daemon.post('/containers/one/checkpoints', { name: 'a', tcp: true, unixSockets: true, shell: true, emptyNS: ['network'] })
  t.match(made, { status: 201, headers: { location: '/containers/one/checkpoints/a' }, body: { name: 'a', containerId: 'one', runId: source.runId, size: 5000, exit: false, tcp: true, unixSockets: true, shell: true, emptyNS: ['network'] } })
  t.match((await runtime.calls())[0], /--log-format json checkpoint --image-path \S+ --work-path \S+ --leave-running --tcp-established --ext-unix-sk --shell-job --empty-ns network one\.[0-9a-f]{20}$/)
  const store = join(daemon.root, 'containers/one/checkpoints')
  t.same((await readdir(join(store, 'a'))).sort(), ['checkpoint.json', 'images'])
  t.equal((await stat(join(store, 'a'))).mode & 0o777, 0o700)
  t.match((await seen.type('StateCheckpoint', 'one')).data, { runId: source.runId, processId: 'init', checkpoint: { container: 'one', name: 'a', createdAt: made.body.createdAt, exit: false }, labels: { app: 'web' } })
  t.match((await daemon.get('/containers/one')).body, { status: 'running', pid: source.pid })
  t.same((await daemon.get('/containers/one/checkpoints')).body, { items: [made.body], nextCursor: null })
  t.same((await daemon.get('/containers/one/checkpoints/a')).body, made.body)

  for (const [path, body, expected] of [
    ['one', { name: 'a' }, { status: 409, body: { code: 'checkpoint_exists' } }],
    ['nobody', { name: 'a' }, { status: 404, body: { code: 'container_not_found' } }],
    ['one', {}, { status: 400, body: { code: 'bad_request' } }],
    ['one', { name: '../x' }, { status: 400 }],
    ['one', { name: 'x', emptyNS: ['pid'] }, { status: 400, body: { code: 'bad_request' } }]
  ] as const) t.match(await daemon.post(`/containers/${path}/checkpoints`, body), expected, JSON.stringify(body))
  await daemon.post('/containers/one/pause')
  t.match(await daemon.post('/containers/one/checkpoints', { name: 'b' }), { status: 409, body: { code: 'container_paused' } })
  await daemon.post('/containers/one/resume')

  const tokens = join(daemon.root, 'tokens.json')
  const kept = JSON.parse(await readFile(tokens, 'utf8'))
  kept.tokens.push({ id: 'o', name: 'operator', scope: 'operate', token: 'operate-me', createdAt: '' }, { id: 's', name: 'some', scope: 'admin', token: 'db-only', createdAt: '', labels: { app: 'db' } })
  await writeFile(tokens, JSON.stringify(kept))
  const url = `http://${/"address":"([^"]+)"/.exec(daemon.output)?.[1] ?? ''}`
  const ask = async (token: string, path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`${url}${path}`, { method: body === undefined ? 'GET' : 'POST', headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    return { status: response.status, body: await response.json() }
  }
  t.match(await ask('operate-me', '/containers/one/checkpoints', { name: 'b' }), { status: 403, body: { code: 'forbidden' } }, 'to make one takes admin')
  t.match(await ask('operate-me', '/containers/one/checkpoints'), { status: 200 })
  t.match(await ask('db-only', '/containers/one/checkpoints'), { status: 404, body: { code: 'container_not_found' } })
  t.match(await ask('db-only', '/containers', { id: 'two', bundle, labels: { app: 'db' }, checkpoint: 'one/a' }), { status: 404, body: { code: 'checkpoint_not_found' } }, 'nor does it restore from what it does not cover')

  await runtime.fault('checkpoint fail')
  t.match(await daemon.post('/containers/one/checkpoints', { name: 'b', exit: true }), { status: 422, body: { code: 'checkpoint_failed', runtime: /consider using --tcp-established option.*Dumping FAILED/ } })
  t.same(await readdir(store), ['a'], 'nothing of it stays')
  t.match((await daemon.get('/containers/one')).body, { status: 'running', pid: source.pid })
  t.equal((await daemon.get('/containers/one/checkpoints/b')).body.code, 'checkpoint_not_found')
  await runtime.fault()

  t.match(await daemon.post('/containers', { id: 'two', bundle, checkpoint: 'one/none' }), { status: 404, body: { code: 'checkpoint_not_found' } })
  t.match(await daemon.post('/containers', { id: 'two', bundle, checkpoint: 'a' }), { status: 404, body: { code: 'checkpoint_not_found' } }, 'a name alone is one of the container itself')
  t.match(await daemon.post('/containers', { id: 'two', bundle, checkpoint: 'one/a', start: false }), { status: 400, body: { code: 'bad_request' } })
  t.match(await daemon.post('/containers', { id: 'two', bundle, runtime: 'runc', checkpoint: 'one/a' }), { status: 409, body: { code: 'checkpoint_unavailable' } })
  t.match(await daemon.post('/containers', { id: 'one', bundle, checkpoint: 'a' }), { status: 409, body: { code: 'container_exists', detail: /start/ } })
  await runtime.fault('restore fail')
  t.match(await daemon.post('/containers', { id: 'two', bundle, checkpoint: 'one/a' }), { status: 422, body: { code: 'runtime_failed', step: 'runtime restore', runtime: /bad size/ } })
  t.match((await seen.type('StateStartFailed', 'two')).data, { error: { detail: /bad size/ }, exit: { reason: 'start-failed', status: null } })
  await runtime.fault()
  for (const [id, checkpoint] of [['three', 'one/a'], ['four', { container: 'one', name: 'a' }]] as const) {
    const restored = await daemon.post('/containers', { id, bundle, checkpoint })
    t.match(restored, { status: 201, body: { id, status: 'running', processes: [{ id: 'init', env: ['PATH=/bin', 'X=1'], status: 'running' }] } })
    await seen.type('StateStart', id)
    t.same(seen.types(id), ['StateCreate', 'StateRestore', 'StateStart'])
    t.match((await seen.type('StateRestore', id)).data, { runId: restored.body.runId, pid: restored.body.pid, checkpoint: { container: 'one', name: 'a' } })
  }
  t.match((await runtime.calls()).at(-1), /restore --detach --image-path \S+one\/checkpoints\/a\/images --work-path \S+ --tcp-established --ext-unix-sk --shell-job --empty-ns network --bundle \S+ --pid-file \S+ four\./)
  await daemon.trapped('four')
  t.match((await daemon.post('/containers/four/stop')).body, { exit: { status: 3, reason: 'exited' } }, 'its shim reaps it')

  t.match(await daemon.post('/containers/one/checkpoints', { name: 'last', exit: true }), { status: 201, body: { exit: true } })
  t.match((await daemon.get('/containers/one/wait')).body, { signal: 'SIGKILL', reason: 'signaled' })
  t.match((await daemon.get('/containers/one')).body, { status: 'stopped', restart: { nextAt: null } }, 'no policy starts it again')
  t.same(seen.types('one').slice(-2), ['StateCheckpoint', 'StateExit'])
  t.match(await daemon.post('/containers/one/checkpoints', { name: 'b' }), { status: 409, body: { code: 'container_not_running' } })
  t.equal((await daemon.post('/containers/one/start', { checkpoint: 'none' })).body.code, 'checkpoint_not_found')
  t.match((await daemon.post('/containers/three/start', { checkpoint: 'x' })).body, { code: 'container_running' })
  const again = await daemon.post('/containers/one/start', { checkpoint: 'last' })
  t.match(again, { status: 200, body: { status: 'running' } })
  t.not(again.body.runId, source.runId)
  await seen.next(({ event, data }) => event === 'StateStart' && data.runId === again.body.runId)
  t.same(seen.types('one').slice(-2), ['StateRestore', 'StateStart'])

  t.equal((await daemon.delete('/containers/one/checkpoints/last')).status, 204)
  t.match(await daemon.delete('/containers/one/checkpoints/last'), { status: 404, body: { code: 'checkpoint_not_found' } })
  for (let n = 0; n < 15; n++) t.equal((await daemon.post('/containers/one/checkpoints', { name: `n${n}` })).status, 201)
  t.match(await daemon.post('/containers/one/checkpoints', { name: 'n15' }), { status: 409, body: { code: 'too_many_checkpoints' } })
  const page = (await daemon.get('/containers/one/checkpoints?limit=10')).body
  t.equal(page.items.length, 10)
  t.equal((await daemon.get(`/containers/one/checkpoints?limit=10&cursor=${page.nextCursor}`)).body.items.length, 6)
  await writeFile(join(store, 'n0/checkpoint.json'), '{')
  t.equal((await daemon.get('/containers/one/checkpoints')).body.items.length, 15, 'one that was damaged is not shown')
  t.equal((await daemon.delete('/containers/one/checkpoints/n0')).status, 204, 'and can be removed')
  await daemon.delete('/containers/one?force=true')
  t.equal(await stat(store).catch(() => undefined), undefined, 'they go with the container')
  seen.close()
})

t.test('the daemon is killed in the middle', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const runtime = await checkpointingRuntime(join(daemon.directory, 'fake'))
  const launch = async (point: Failpoint): Promise<void> => await daemon.launch(['--runtime', runtime.path], { LONGSHORE_FAILPOINT: point })
  const killed = async (request: Promise<unknown>): Promise<void> => {
    const { child } = daemon
    if (child === undefined) throw new Error('there is a daemon')
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    await Promise.all([ended, request.then(() => { throw new Error('it was to die before it could answer') }, () => {})])
  }
  const bundle = await daemon.bundle('trap', trap(3))
  const store = join(daemon.root, 'containers/one/checkpoints')
  const checkpoints = async (): Promise<string[]> => (await events(daemon, 'one')).filter(({ type }) => type === 'StateCheckpoint').map(({ checkpoint }) => checkpoint.name)

  await launch('checkpoint.begun')
  const { criu } = (await daemon.get('/info')).body
  await daemon.post('/containers', { id: 'real', bundle, runtime: 'runc' })
  if (criu.available === true) t.comment('CRIU works on this machine')
  else t.match(await daemon.post('/containers/real/checkpoints', { name: 'a' }), { status: 409, body: { code: 'checkpoint_unavailable', detail: new RegExp(criu.reason.replaceAll(/[^\w ]/g, '.')) } }, criu.reason)
  await daemon.delete('/containers/real?force=true')
  const { body: { pid } } = await daemon.post('/containers', { id: 'one', bundle })
  await killed(daemon.post('/containers/one/checkpoints', { name: 'begun' }))

  await launch('checkpoint.kept')
  t.same(await readdir(store), [], 'of one that was not dumped nothing stays')
  t.match((await daemon.get('/containers/one')).body, { status: 'running', pid })
  await killed(daemon.post('/containers/one/checkpoints', { name: 'kept' }))

  await t.rejects(launch('checkpoint.told'), 'the next one tells of it, and dies then')
  await launch('checkpoint.dumped')
  t.same(await checkpoints(), ['kept'], 'one that is whole is told, once')
  await killed(daemon.post('/containers/one/checkpoints', { name: 'dumped', exit: true }))

  await launch('create.spawned')
  t.match((await daemon.get('/containers/one/wait')).body, { signal: 'SIGKILL' })
  t.match((await daemon.get('/containers/one/checkpoints/dumped')).body, { name: 'dumped', size: 5000, exit: true }, 'what ended its container is not lost')
  t.same((await events(daemon, 'one')).map(({ type }) => type).slice(-2), ['StateCheckpoint', 'StateExit'])
  await killed(daemon.post('/containers', { id: 'two', bundle, checkpoint: 'one/dumped' }))

  await launch('restored.told')
  t.equal((await daemon.get('/containers/two')).status, 404, 'a restore that nobody was told of is undone')
  t.equal((await daemon.shims()).length, 0)
  await killed(daemon.post('/containers', { id: 'two', bundle, checkpoint: 'one/dumped' }))

  await launch('start.called')
  t.match((await daemon.get('/containers/two')).body, { status: 'running' })
  t.same((await events(daemon, 'two')).map(({ type }) => type), ['StateCreate', 'StateRestore', 'StateStart'])
  await killed(daemon.post('/containers/one/start', { checkpoint: 'dumped' }))

  await daemon.launch(['--runtime', runtime.path, '--start-timeout', '5'])
  t.match((await daemon.get('/containers/one')).body, { status: 'running' }, 'what runs goes on')
  t.same((await events(daemon, 'one')).map(({ type }) => type).slice(-2), ['StateRestore', 'StateStart'])
  t.same(await checkpoints(), ['kept', 'dumped'])
  await runtime.fault('checkpoint hang')
  t.match(await daemon.post('/containers/one/checkpoints', { name: 'late' }), { status: 504, body: { code: 'timeout', step: 'runtime checkpoint' } })
  t.same((await readdir(store)).sort(), ['dumped', 'kept'], 'of one that took too long nothing stays')
  t.match((await daemon.get('/containers/one')).body, { status: 'running' })
  t.equal(await readFile(join(store, 'kept/checkpoint.json'), 'utf8').then((text) => JSON.parse(text).told), true)
})
