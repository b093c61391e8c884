/** What goes wrong below the daemon: a runtime that hangs or fails, a shim that is killed, memory that runs out. */
import t from 'tap'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, trap } from '../support/daemon.ts'
import { alive, faulty, nothingLeft } from '../support/faulty.ts'

t.test('a runtime that hangs in create is ended; the answer names the step, and nothing is left', async (t) => {
  const { daemon, fault } = await faulty(t, '--start-timeout', '0.5')
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  await fault('create hang')
  const hung = await daemon.post('/containers', { id: 'hung', bundle })
  t.equal(hung.status, 504)
  t.match(hung.body, { code: 'timeout', step: 'runtime create', taskId: String })
  t.match((await daemon.get(`/tasks/${hung.body.taskId}`)).body, { kind: 'create', status: 'failed', error: { code: 'timeout' } })
  t.equal((await daemon.get('/containers/hung')).status, 404)
  await nothingLeft(t, daemon)
  await fault()
  t.equal((await daemon.post('/containers', { id: 'hung', bundle })).status, 201, 'its name is free')
})

t.test('a runtime that hangs in start: told as a failed start, and the container can be deleted', async (t) => {
  const { daemon, fault } = await faulty(t, '--start-timeout', '0.5')
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  await fault('start hang')
  const other = daemon.get('/containers')
  t.equal((await daemon.post('/containers', { id: 'made', bundle, start: false })).status, 201)
  const started = await daemon.post('/containers/made/start')
  t.match(started.body, { status: 504, code: 'timeout', step: 'runtime start' })
  t.equal((await other).status, 200)
  t.match((await events.type('StateStartFailed', 'made')).data, { error: { code: 'timeout' } })
  t.match((await daemon.get('/containers/made')).body, { status: 'stopped', exit: { status: null, reason: 'start-failed' } })
  t.same(await daemon.shims(), [])
  await fault()
  t.equal((await daemon.post('/containers/made/start')).status, 200, 'the next start is a new run')
  t.equal((await daemon.delete('/containers/made?force=true')).status, 204)
  t.same(events.types('made'), ['StateCreate', 'StateStartFailed', 'StateStart', 'StateExit', 'StateDelete'])
  await nothingLeft(t, daemon)
  events.close()
})

t.test('whatever a runtime does at whichever step, the verb is answered and nothing stays', async (t) => {
  const { daemon, fault } = await faulty(t, '--start-timeout', '1')
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  for (const step of ['create', 'start', 'delete'] as const) {
    for (const how of ['crash', 'garbage', 'lie', 'late', ...(step === 'delete' ? ['hang'] : [])]) {
      const id = `${step}-${how}`
      await fault(`${step} ${how}`)
      const made = await daemon.post('/containers', { id, bundle })
      if (step === 'delete' || how === 'late') {
        t.equal(made.status, 201, id)
        const deleted = await daemon.delete(`/containers/${id}?force=true`)
        t.ok(how === 'late' ? deleted.status === 204 : [422, 502, 504].includes(deleted.status), `${id}: ${deleted.status}`)
      } else {
        t.match(made.body, { status: how === 'garbage' ? 422 : 502, step: `runtime ${step}` }, id)
        t.match((await events.type('StateStartFailed', id)).data, { exit: { status: null, reason: 'start-failed' } })
      }
      await fault()
      t.ok([204, 404].includes((await daemon.delete(`/containers/${id}?force=true`)).status), `${id} is gone`)
      await nothingLeft(t, daemon)
    }
  }
  events.close()
})

t.test("runc's start is done without runc, but for hooks that it may have to run there", async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const runtime = join(daemon.directory, 'runc')
  const calls = join(daemon.directory, 'calls')
  await writeFile(runtime, `#!/bin/sh\nfor command; do case $command in create | start | delete) echo $command >> ${calls} ;; esac; done\nexec runc "$@"\n`, { mode: 0o755 })
  await daemon.launch(['--runtime', runtime])
  const events = await daemon.events()
  const plain = await daemon.bundle('plain', ['/bin/sh', '-c', 'exit 3'])
  const hooked = await daemon.bundle('hooked', ['/bin/sh', '-c', 'exit 4'], (config) => { config.hooks = { poststart: [{ path: '/bin/true' }] } })
  for (const [id, bundle, status, expected] of [['plain', plain, 3, 'create delete'], ['hooked', hooked, 4, 'create start delete']] as const) {
    await writeFile(calls, '')
    t.equal((await daemon.post('/containers', { id, bundle })).status, 201)
    t.match((await events.type('StateExit', id)).data, { exit: { status, oomKilled: false, outputComplete: true } })
    t.equal((await daemon.delete(`/containers/${id}`)).status, 204)
    t.equal((await readFile(calls, 'utf8')).trim().split('\n').join(' '), expected, id)
    t.same(events.types(id), ['StateCreate', 'StateStart', 'StateExit', 'StateDelete'])
  }
  await nothingLeft(t, daemon)
  events.close()
})

t.test('a delete that stops half way is told, and goes on where it stopped', async (t) => {
  const { daemon, fault } = await faulty(t)
  const events = await daemon.events()
  const bundle = await daemon.bundle('trap', trap(6))
  await daemon.post('/containers', { id: 'half', bundle })
  await fault('delete fail')
  await daemon.trapped('half')
  t.match((await daemon.post('/containers/half/stop', { timeout: 30 })).body, { status: 'stopped', exit: { status: 6 } }, 'the exit is told first')
  const failed = await daemon.delete('/containers/half')
  t.match(failed.body, { status: 422, code: 'runtime_failed' })
  t.match((await daemon.get('/containers/half')).body, { status: 'stopped', exit: { status: 6 } })
  await fault()
  t.equal((await daemon.delete('/containers/half')).status, 204)
  t.same(events.types('half'), ['StateCreate', 'StateStart', 'StateExit', 'StateDelete'])
  await nothingLeft(t, daemon)
  events.close()
})

t.test("what a killed runtime left mounted in its state does not stop the container's end", async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('trap', trap(6))
  const { body } = await daemon.post('/containers', { id: 'mounted', bundle })
  // runc mounts itself read-only there for a moment, against containers that would write to it.
  const left = join(daemon.state, `runtime/mounted.${body.runId}/runc.left`)
  await writeFile(left, '')
  t.equal(spawnSync('mount', ['--bind', '/bin/busybox', left]).status, 0)
  await daemon.trapped('mounted')
  t.match((await daemon.post('/containers/mounted/stop')).body, { status: 'stopped', exit: { status: 6 } })
  t.equal((await daemon.delete('/containers/mounted')).status, 204)
  await nothingLeft(t, daemon)
})

t.test('a teardown that failed is tried again without being asked', async (t) => {
  const { daemon, fault } = await faulty(t, '--reconcile-interval', '0.2')
  const bundle = await daemon.bundle('trap', trap(6))
  await daemon.post('/containers', { id: 'later', bundle })
  await fault('delete fail')
  await daemon.trapped('later')
  await daemon.post('/containers/later/stop', { timeout: 30 })
  while (!daemon.output.includes('could not be torn down')) await new Promise((resolve) => setImmediate(resolve))
  await fault()
  while ((await readdir(join(daemon.state, 'runs'))).length > 0) await new Promise((resolve) => setImmediate(resolve))
  t.same(await daemon.shims(), [])
  t.match((await daemon.get('/metrics')).text, /longshore_repairs_total\{kind="teardown"\} [1-9]/)
  t.match((await daemon.get('/containers/later')).body, { status: 'stopped', exit: { status: 6 } })
})

t.test('runs that no record knows are ended at the next start; what may belong to an unreadable record is left alone', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const runs = new Map<string, { pid: number, runId: string }>()
  for (const id of ['gone', 'broken', 'fine']) runs.set(id, (await daemon.post('/containers', { id, bundle })).body)
  await daemon.stop('SIGKILL')
  await rm(join(daemon.root, 'containers/gone'), { recursive: true })
  const record = join(daemon.root, 'containers/broken/container.json')
  const whole = await readFile(record, 'utf8')
  await writeFile(record, whole.slice(0, 100))
  await daemon.launch()
  t.match((await daemon.get('/info')).body.quarantined, [{ path: join(daemon.root, 'containers/broken'), reason: /JSON/ }])
  const told = await daemon.events('from=earliest')
  t.match((await told.type('StateUpdate', 'broken')).data, { error: { code: 'container_unreadable', detail: /JSON/ } })
  told.close()
  t.match((await daemon.post('/containers', { id: 'broken', bundle })).body, { status: 409, code: 'container_unreadable' })
  t.equal(await readFile(record, 'utf8'), whole.slice(0, 100), 'as it was')
  while ((await readdir(join(daemon.state, 'runs'))).includes(runs.get('gone')?.runId ?? '')) await new Promise((resolve) => setImmediate(resolve))
  t.equal(await alive(runs.get('gone')?.pid), false)
  t.equal(await alive(runs.get('broken')?.pid), true)
  t.match((await daemon.get('/containers/fine')).body, { status: 'running', pid: runs.get('fine')?.pid })
  t.match((await daemon.get('/metrics')).text, 'longshore_repairs_total{kind="orphan"} 1')

  await daemon.stop('SIGKILL')
  await writeFile(record, whole)
  await daemon.launch()
  t.match((await daemon.get('/containers/broken')).body, { status: 'running', pid: runs.get('broken')?.pid }, 'it is there when it can be read again')
})

t.test('a shim that is killed: the container ends with it, once, and is torn down', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'bereft', bundle })
  const [shim = 0] = await daemon.shims()
  process.kill(shim, 'SIGKILL')
  t.match((await events.type('StateExit', 'bereft')).data, { exit: { reason: 'monitor-lost', outputComplete: false } })
  // Whoever is above the shim has to reap it, and may take its time.
  t.equal(await alive(body.pid), false)
  t.equal((await daemon.delete('/containers/bereft')).status, 204)
  t.same(events.types('bereft'), ['StateCreate', 'StateStart', 'StateExit', 'StateDelete'])
  await nothingLeft(t, daemon)
  events.close()
})

t.test('memory that runs out is told before the exit', { skip: existsSync('/sys/fs/cgroup/memory/memory.oom_control') ? false : 'no memory controller of cgroup v1 here' }, async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const small = (config: any): void => { config.linux.resources.memory = { limit: 16 * 1024 * 1024 } } // any: config.json is the test's to bend
  const child = await daemon.bundle('child', ['/bin/sh', '-c', 'tail /dev/zero; exit 3'], small)
  const init = await daemon.bundle('init', ['/bin/tail', '/dev/zero'], small)
  for (const [id, bundle, exit] of [['child', child, { status: 3, signal: null, oomKilled: true }], ['init', init, { status: 137, signal: 'SIGKILL', oomKilled: true }]] as const) {
    await daemon.post('/containers', { id, bundle })
    t.match((await events.type('StateExit', id)).data.exit, exit)
    t.same(events.types(id), ['StateCreate', 'StateStart', 'StateOOM', 'StateExit'])
  }

  // The count that the shim kept goes with it; what was told stays true.
  const before = new Set(await daemon.shims())
  await daemon.post('/containers', { id: 'bereft', bundle: await daemon.bundle('bereft', ['/bin/sh', '-c', 'tail /dev/zero; exec sleep 1000'], small) })
  await events.type('StateOOM', 'bereft')
  for (const shim of await daemon.shims()) if (!before.has(shim)) process.kill(shim, 'SIGKILL')
  t.match((await events.type('StateExit', 'bereft')).data.exit, { oomKilled: true, reason: 'monitor-lost' })
  t.same(events.types('bereft'), ['StateCreate', 'StateStart', 'StateOOM', 'StateExit'])

  const later = await daemon.bundle('later', ['/bin/sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.1; done; tail /dev/zero; exit 4'], small)
  const { body } = await daemon.post('/containers', { id: 'later', bundle: later })
  await daemon.stop('SIGKILL')
  await writeFile(join(later, 'rootfs/tmp/go'), '')
  while (existsSync(`/proc/${body.pid}`)) await new Promise((resolve) => setImmediate(resolve))
  await daemon.launch()
  const missed = await daemon.events('from=earliest')
  t.match((await missed.type('StateExit', 'later')).data.exit, { status: 4, oomKilled: true })
  t.same(missed.types('later'), ['StateCreate', 'StateStart', 'StateOOM', 'StateExit'], 'also when nobody watched')
  missed.close()
  events.close()
})

t.test('memory that runs out beside init: told before that exit, once, and counted for who was killed', { skip: existsSync('/sys/fs/cgroup/memory/memory.oom_control') ? false : 'no memory controller of cgroup v1 here' }, async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('room', trap(5), (config) => { config.linux.resources.memory = { limit: 16 * 1024 * 1024 } })
  await daemon.post('/containers', { id: 'room', bundle })
  const exec = async (id: string, script: string, query = '?wait=true') => await daemon.post(`/containers/room/processes${query}`, { id, args: ['/bin/sh', '-c', script] })
  await exec('quiet', 'read -r _; exit 7', '')
  t.match((await exec('hog', 'exec tail /dev/zero')).body.exit, { status: 137, signal: 'SIGKILL', reason: 'oom', oomKilled: true })
  t.match((await exec('parent', 'tail /dev/zero; exit 3')).body.exit, { status: 3, reason: 'exited', oomKilled: true })
  t.match((await exec('later', 'exit 4')).body.exit, { status: 4, oomKilled: false })
  const told = (): string[] => events.events.filter(({ event }) => event === 'StateOOM' || event === 'StateExit').map(({ event, data }) => event === 'StateOOM' ? `OOM ${data.oomKills}` : data.processId)
  await events.next(({ event, data }) => event === 'StateExit' && data.processId === 'later')
  t.same(told(), ['OOM 1', 'hog', 'OOM 2', 'parent', 'later'])

  // What is killed while no daemon is there, in a container that goes on, is told by the next one, and what was told is not told again.
  const { pid } = (await exec('away', 'while [ ! -e /tmp/go ]; do sleep 0.05; done; exec tail /dev/zero', '')).body
  await daemon.stop('SIGKILL')
  await writeFile(join(bundle, 'rootfs/tmp/go'), '')
  while (existsSync(`/proc/${pid}`)) await new Promise((resolve) => setImmediate(resolve))
  await daemon.launch()
  const resumed = await daemon.events('', { 'last-event-id': events.events.at(-1)?.id ?? '' })
  await resumed.next(({ event, data }) => event === 'StateExit' && data.processId === 'away')
  t.equal((await daemon.post('/containers/room/stop', { timeout: 30 })).status, 200)
  await resumed.next(({ event, data }) => event === 'StateExit' && data.processId === 'init')
  t.same(resumed.events.filter(({ event }) => event === 'StateOOM').map(({ data }) => data.oomKills), [3])
  t.ok(resumed.events.findIndex(({ event }) => event === 'StateOOM') < resumed.events.findIndex(({ data }) => data.processId === 'away'))
  t.match((await daemon.get('/containers/room')).body.exit, { status: 5, oomKilled: true }, "init's counts all of its container")
  for (const reader of [events, resumed]) reader.close()
})

t.test('files are for their owner only', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('out', ['/bin/sh', '-c', 'echo said; sleep 1000'])
  await daemon.post('/containers', { id: 'kept', bundle })
  for (const top of [daemon.root, daemon.state]) {
    for (const entry of await readdir(top, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      // The runtime keeps its own state by its own rules, in a directory that nobody else can enter.
      if (path.startsWith(join(daemon.state, 'runtime')) || path === daemon.socket || entry.isSymbolicLink()) continue
      // A record that is just being written goes by another name for a moment.
      const mode = await stat(path).then((stats) => stats.mode, () => 0)
      if ((mode & 0o077) !== 0) t.fail(`${path} has mode ${(mode & 0o777).toString(8)}`)
    }
  }
  t.pass('all looked at')
})
