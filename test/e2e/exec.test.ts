/** Processes executed beside init, with real runc. */
import t from 'tap'
import { once } from 'node:events'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { Daemon, trap, type EventReader, type Reply } from '../support/daemon.ts'

const daemon = await Daemon.start(['--start-timeout', '60'])
const events: EventReader = await daemon.events()
t.teardown(async () => { events.close(); await daemon.destroy() })

const exec = async (id: string, body: object, query = ''): Promise<Reply> => await daemon.post(`/containers/${id}/processes${query}`, body)
const sh = (script: string): { args: string[] } => ({ args: ['/bin/sh', '-c', script] })
const exitOf = async (id: string, pid: string): Promise<any> => (await events.next(({ event, data }) => event === 'StateExit' && data.containerId === id && data.processId === pid, 60)).data // any: the wire

const bundle = await daemon.bundle('box', trap(0), (config) => { config.process.env.push('KIND=box', 'SHARED=old') })
t.equal((await daemon.post('/containers', { id: 'box', bundle })).status, 201)

t.test('one request, one answer: exit, output, and the container\'s environment laid over', async (t) => {
  const { status, headers, body } = await exec('box', { id: 'first', ...sh('echo $KIND $SHARED $MORE; pwd; id -u; id -g; echo bad >&2; exit 7'), env: ['SHARED=new', 'MORE=yes'], cwd: '/tmp', user: { uid: 5, gid: 6 } }, '?wait=true')
  t.equal(status, 201)
  t.equal(headers.location, '/containers/box/processes/first')
  t.match(body, { id: 'first', pid: null, status: 'stopped', stdout: 'box new yes\n/tmp\n5\n6\n', stderr: 'bad\n', truncated: false, user: { uid: 5, gid: 6 } })
  t.match(body.exit, { status: 7, signal: null, reason: 'exited', outputComplete: true })
  const started = await events.next(({ event, data }) => event === 'StateStartProcess' && data.processId === 'first')
  const exited = await exitOf('box', 'first')
  t.same(exited.exit, body.exit, 'the event has the same record')
  t.match(exited, { runId: started.data.runId, pid: started.data.pid })
  t.same((await daemon.get('/containers/box/processes/first/wait')).body, body.exit)
  t.equal((await daemon.get('/containers/box/processes/first')).body.exit.status, 7)
  t.match((await daemon.get('/containers/box/processes')).body.items.map(({ id }: { id: string }) => id), ['init', 'first'])
  const { body: large } = await exec('box', sh('yes | head -c 3000000'), '?wait=true')
  t.equal(large.stdout.length, 1024 * 1024)
  t.equal(large.truncated, true)
  t.equal((await exec('box', sh('cat; echo end'), '?wait=true')).body.stdout, 'end\n', 'its input is empty')
})

t.test('a client that goes away while its process is started is waited for no more', async (t) => {
  const body = JSON.stringify({ id: 'left', args: ['/bin/sleep', '1000'] })
  const request = http.request({ socketPath: daemon.socket, agent: false, method: 'POST', path: '/containers/box/processes?wait=true', headers: { 'content-type': 'application/json', 'content-length': body.length } })
  request.on('error', () => {})
  request.end(body)
  await once(request, 'finish')
  request.destroy()
  await events.next(({ event, data }) => event === 'StateStartProcess' && data.processId === 'left')
  t.match((await daemon.get('/metrics')).text, /^longshore_waits 0$/m)
  t.equal((await daemon.get('/containers/box/processes/left')).body.status, 'running', 'it goes on')
  t.equal((await daemon.post('/containers/box/processes/left/signal', { signal: 'KILL' })).status, 204)
  await exitOf('box', 'left')
})

t.test('capabilities, limits and privileges are the request\'s where it names them', async (t) => {
  const { body } = await exec('box', {
    ...sh('grep -E "CapEff|NoNewPrivs" /proc/self/status; ulimit -n'),
    capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
    noNewPrivileges: false,
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 77, hard: 77 }]
  }, '?wait=true')
  t.match(body.stdout, /CapEff:\s+0000000000000020\n/)
  t.match(body.stdout, /NoNewPrivs:\s+0\n/)
  t.match(body.stdout, /^77$/m)
  t.match((await exec('box', { ...sh('grep CapEff /proc/self/status'), capabilities: ['CAP_KILL'] }, '?wait=true')).body.stdout, /CapEff:\s+0000000000000020\n/, 'a list is for all three sets')
})

t.test('what cannot be executed is told by its code', async (t) => {
  const missing = await exec('box', { id: 'again', args: ['/no/such'] })
  t.match(missing, { status: 422, body: { code: 'runtime_failed', exitStatus: 127 } })
  t.ok(missing.body.runtime)
  t.match(await exec('box', { args: ['/etc'] }), { status: 422, body: { code: 'runtime_failed', exitStatus: 126 } })
  t.match(await exec('box', { id: 'again', ...sh('exit 0') }, '?wait=true'), { status: 201 }, 'the id was not used up by one that never ran')
  t.match(await exec('box', { id: 'again', ...sh('exit 0') }), { status: 409, body: { code: 'process_exists' } })
  t.match(await exec('box', { id: 'init', ...sh('exit 0') }), { status: 409, body: { code: 'process_exists' } })
  t.match(await exec('nobody', sh('exit 0')), { status: 404, body: { code: 'container_not_found' } })
  t.match(await exec('box', { args: [] }), { status: 400 })
  t.match(await exec('box', { args: ['/bin/true'], what: 1 }), { status: 400 })
  t.equal((await daemon.delete('/containers/box/processes/again')).status, 204)
  t.equal((await daemon.get('/containers/box/processes/again')).status, 404)
  t.match(await exec('box', { id: 'again', ...sh('exit 0') }), { status: 409, body: { code: 'process_exists' } }, 'its exit is kept under this id')
})

t.test('signals reach one process, or all', async (t) => {
  await exec('box', { id: 'deaf', ...sh("trap '' TERM; echo ready; while :; do sleep 1; done") })
  while (!(await daemon.get('/containers/box/processes/deaf/logs')).text.includes('ready')) await new Promise((resolve) => setTimeout(resolve, 10))
  t.match(await daemon.delete('/containers/box/processes/deaf'), { status: 409, body: { code: 'process_running' } })
  t.match(await daemon.delete('/containers/box/processes/init'), { status: 409, body: { code: 'process_running' } })
  t.equal((await daemon.get('/containers/box/processes/deaf/wait?timeout=0')).status, 204)
  const post = async (verb: string, body: object): Promise<Reply> => await daemon.post(`/containers/box/processes/deaf/${verb}`, body)
  t.equal((await post('signal', { signal: 0 })).status, 204)
  t.equal((await post('signal', { signal: 'TERM' })).status, 204)
  t.match(await post('resize', { width: 90, height: 20 }), { status: 409, body: { code: 'no_terminal' } })
  t.equal((await post('signal', { signal: 'KILL' })).status, 204)
  t.match((await exitOf('box', 'deaf')).exit, { status: 137, signal: 'SIGKILL', reason: 'signaled' })
  t.match(await post('signal', { signal: 'TERM' }), { status: 409 })
  t.match(await daemon.post('/containers/box/processes/nobody/signal', { signal: 'TERM' }), { status: 404, body: { code: 'process_not_found' } })
  t.equal((await daemon.get('/containers/box')).body.status, 'running', 'the container goes on')
})

t.test('standard input is open until it is closed', async (t) => {
  await exec('box', { id: 'reader', ...sh('cat; exit 3') })
  t.equal((await daemon.request('POST', '/containers/box/processes/reader/close-stdin')).status, 204)
  t.match((await exitOf('box', 'reader')).exit, { status: 3 })
  t.match(await daemon.request('POST', '/containers/box/processes/reader/close-stdin'), { status: 409, body: { code: 'container_not_running' } })
  const init = await daemon.bundle('input', ['/bin/sh', '-c', 'cat; exit 4'])
  await daemon.post('/containers', { id: 'input', bundle: init })
  t.equal((await daemon.request('POST', '/containers/input/processes/init/close-stdin')).status, 204)
  t.match((await exitOf('input', 'init')).exit, { status: 4 })
})

t.test('50 at once, each with its own exit and output', async (t) => {
  const replies = await Promise.all(Array.from({ length: 50 }, async (_, n) => await exec('box', { id: `many-${n}`, ...sh(`echo ${n}; exit ${n}`) }, '?wait=true')))
  t.same(replies.map(({ body }) => [body.exit?.status, body.stdout]), replies.map((_, n) => [n, `${n}\n`]))
  const told = events.events.filter(({ data }) => data.processId?.startsWith('many-') === true)
  for (let n = 0; n < 50; n++) t.same(told.filter(({ data }) => data.processId === `many-${n}`).map(({ event }) => event), ['StateStartProcess', 'StateExit'])
  const [shim = 0] = await daemon.shims()
  // Every slot is given back: what is left is what the shim has for init.
  const ends = (await readdir(`/proc/${shim}/fd`)).length
  t.ok(ends < 20, `${ends} descriptors`)
})

t.test('a daemon that is killed: what ran, ended and was being started is found again', async (t) => {
  const { body: before } = await exec('box', { id: 'stays', ...sh("trap 'exit 9' TERM; echo up; while :; do sleep 1 & wait; done") })
  await exec('box', { id: 'ends', ...sh('read -r _; exit 8') })
  const { pid } = (await daemon.get('/containers/box/processes/ends')).body
  await daemon.stop('SIGKILL')
  process.kill(pid, 'SIGKILL')
  await daemon.launch(['--start-timeout', '60'])
  t.match((await daemon.get('/containers/box/processes/ends/wait?timeout=60')).body, { signal: 'SIGKILL' })
  const after = (await daemon.get('/containers/box/processes/stays')).body
  t.same(after, before)
  t.equal((await daemon.post('/containers/box/processes/stays/signal', { signal: 'TERM' })).status, 204)
  t.match((await daemon.get('/containers/box/processes/stays/wait?timeout=60')).body, { status: 9 })
  t.match((await daemon.get('/containers/box/processes/first')).body.exit, { status: 7 })
  t.match(await exec('box', sh('exit 2'), '?wait=true'), { body: { exit: { status: 2 } } })
})

for (const point of ['exec.recorded', 'exec.asked', 'exec.called', 'exec.told', 'exec-exit.seen', 'exec-exit.told']) {
  t.test(`the daemon dies at ${point}`, async (t) => {
    await daemon.stop('SIGKILL')
    await daemon.launch(['--start-timeout', '60'], { LONGSHORE_FAILPOINT: point })
    const id = point.replace('.', '-')
    await exec('box', { id, ...sh('echo ran; exit 5') }).catch(() => {})
    await daemon.stop('SIGKILL')
    await daemon.launch(['--start-timeout', '60'])
    const found = await daemon.get(`/containers/box/processes/${id}`)
    const told = (await daemon.get('/events?from=earliest&follow=false&container=box&limit=1000')).body.items.filter((event: any) => event.processId === id).map(({ type }: any) => type) // any: the wire
    if (found.status === 404) {
      t.ok(['exec.recorded', 'exec.asked'].includes(point), 'it had not come to run')
      t.same(told, [])
      t.match(await exec('box', { id, ...sh('exit 5') }, '?wait=true'), { status: 201 }, 'nothing of it is left')
    }
    t.match((await daemon.get(`/containers/box/processes/${id}/wait?timeout=60`)).body, { status: 5 })
    const all = (await daemon.get('/events?from=earliest&follow=false&container=box&limit=1000')).body.items.filter((event: any) => event.processId === id).map(({ type }: any) => type) // any: the wire
    t.same(all, ['StateStartProcess', 'StateExit'])
  })
}

t.test('init ends while processes are being started and run: theirs are told before its own', async (t) => {
  const stream = await daemon.events()
  t.teardown(() => stream.close())
  // Without a pid namespace of its own the kernel leaves the others alive.
  const shared = await daemon.bundle('shared', trap(0), (config) => { config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid') })
  for (const [id, from] of [['apart', bundle], ['shared', shared]] as const) {
    await daemon.post('/containers', { id, bundle: from })
    await exec(id, { id: 'long', ...sh("trap '' TERM; while :; do sleep 1; done") })
    const racing = Array.from({ length: 8 }, async (_, n) => await exec(id, { id: `race-${n}`, ...sh('sleep 1000') }))
    const stopped = daemon.post(`/containers/${id}/signal`, { signal: 'KILL' })
    const replies = await Promise.all(racing)
    t.equal((await stopped).status, 204)
    await stream.next(({ event, data }) => event === 'StateExit' && data.containerId === id && data.processId === 'init', 60)
    const order = stream.events.filter(({ event, data }) => data.containerId === id && event === 'StateExit').map(({ data }) => data.processId)
    t.equal(order.at(-1), 'init')
    t.ok(order.includes('long'))
    for (const [n, { status, body }] of replies.entries()) {
      if (status === 201) t.ok(order.includes(`race-${n}`), `${id}: race-${n} was started, so its exit is told`)
      else t.match({ status, code: body.code }, { status: 409, code: 'container_not_running' }, `${id}: ${body.detail}`)
      t.equal(order.includes(`race-${n}`), status === 201)
    }
    t.match(await exec(id, sh('exit 0')), { status: 409, body: { code: 'container_not_running' } })
  }
})

t.test('nothing is executed in a container that is paused, or not started', async (t) => {
  await daemon.post('/containers/box/pause')
  t.match(await exec('box', sh('exit 0')), { status: 409, body: { code: 'container_paused' } })
  await daemon.post('/containers/box/resume')
  await daemon.post('/containers', { id: 'waiting', bundle, start: false })
  t.match(await exec('waiting', sh('exit 0')), { status: 409, body: { code: 'container_not_running' } })
})

t.test('a runtime that hangs: the deadline answers, nothing is left, and the container goes on', async (t) => {
  await daemon.stop()
  await daemon.launch(['--start-timeout', '3'])
  const hang = join(daemon.directory, 'hang')
  await writeFile(join(daemon.directory, 'runtime'), `#!/bin/sh\nfor word in "$@"; do [ "$word" = exec ] && [ -e ${hang} ] && exec sleep 1000; done\nexec runc "$@"\n`, { mode: 0o755 })
  await daemon.post('/containers', { id: 'stuck', bundle, runtime: join(daemon.directory, 'runtime') })
  t.match(await exec('stuck', sh('exit 6'), '?wait=true'), { body: { exit: { status: 6 } } })
  await writeFile(hang, '')
  const before = await daemon.shims()
  await daemon.post('/containers', { id: 'stopped', bundle })
  const [stopped = 0] = (await daemon.shims()).filter((pid) => !before.includes(pid))
  process.kill(stopped, 'SIGSTOP')
  const [late, given] = await Promise.all([exec('stuck', { id: 'late', ...sh('exit 0') }), exec('stopped', { id: 'given-up', ...sh('sleep 1000') })])
  t.match(late, { status: 504, body: { code: 'timeout', step: 'runtime exec' } })
  t.match(given, { status: 504, body: { code: 'timeout' } })
  t.match(await exec('stopped', { id: 'given-up', ...sh('exit 0') }), { status: 409, body: { code: 'process_exists' } }, 'it may come yet: its log and its exit record have that name')
  process.kill(stopped, 'SIGCONT')
  let again = await exec('stopped', { id: 'given-up', ...sh('exit 7') }, '?wait=true')
  while (again.status === 409) again = await exec('stopped', { id: 'given-up', ...sh('exit 7') }, '?wait=true')
  t.match(again.body, { exit: { status: 7 } })
  await daemon.delete('/containers/stopped?force=true')
  t.equal((await daemon.get('/containers/stuck/processes/late')).status, 404)
  await rm(hang)
  t.match(await exec('stuck', { id: 'late', ...sh('exit 6') }, '?wait=true'), { body: { exit: { status: 6 } } }, 'the id and the slot are free again')
  const { body } = await daemon.get('/containers/stuck')
  t.equal(body.status, 'running')
  const children = await readFile(`/proc/${(await daemon.shims())[0] ?? 0}/task/${(await daemon.shims())[0] ?? 0}/children`, 'utf8')
  t.ok(children.trim().split(' ').length <= 1, children)
})
