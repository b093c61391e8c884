/** Runtimes that hang, crash, write noise, say that it is done when it is not, or name somebody else's process, at each subcommand that is called of a container that runs. */
import t, { type Test } from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Reply } from '../support/daemon.ts'
import { alive, faulty, groupsOf, nothingLeft, type Faulty } from '../support/faulty.ts'

t.jobs = 3

const MiB = 1024 * 1024

/** What the kernel says: a file of a container's group on cgroup v1, undefined on a machine without. */
async function knob (pid: number, controller: string, file: string): Promise<string | undefined> {
  const line = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n').find((one) => one.split(':')[1] === controller) ?? ''
  return await readFile(join('/sys/fs/cgroup', controller, line.split(':').slice(2).join(':'), file), 'utf8').then((text) => text.trim(), () => undefined)
}

/** The answer to a request during which the daemon is asked, again and again, for what it knows: nobody waits for the runtime. */
async function beside (t: Test, { daemon }: Faulty, id: string, request: Promise<Reply>): Promise<Reply> {
  let answered = false
  const answer = request.finally(() => { answered = true })
  let slowest = 0
  while (!answered) {
    const began = performance.now()
    const [list, one] = await Promise.all([daemon.get('/containers'), daemon.get(`/containers/${id}`)])
    slowest = Math.max(slowest, performance.now() - began)
    if (list.status !== 200 || one.status !== 200) t.fail(`while it waits: ${list.status} and ${one.status}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  // Half of what the runtime is given to answer; a read takes about a millisecond.
  t.ok(slowest < 500, `reads meanwhile: ${slowest.toFixed(1)} ms at most`)
  return await answer
}

const descriptors = async (pid: number): Promise<number> => (await readdir(`/proc/${pid}/fd`)).length

t.test('exec', async (t) => {
  const house = await faulty(t, '--start-timeout', '1')
  const { daemon, fault } = house
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'one', bundle })
  const [shim = 0] = await daemon.shims()
  const own = await descriptors(shim)
  const other = spawn('sleep', ['1000'])
  t.teardown(() => other.kill('SIGKILL'))
  await once(other, 'spawn')
  for (const [how, status] of [['hang', 504], ['fail', 422], ['crash', 502], ['garbage', 422], ['noise', 502], ['lie', 502], [`stranger ${other.pid ?? 0}`, 502], ['late', 201]] as const) {
    await fault(`exec ${how}`)
    const id = `exec-${how.split(' ')[0] ?? ''}`
    const reply = await beside(t, house, 'one', daemon.post('/containers/one/processes', { id, args: ['/bin/sh', '-c', 'exit 3'] }))
    t.equal(reply.status, status, how)
    if (status === 201) {
      t.match((await daemon.get(`/containers/one/processes/${id}/wait`)).body, { status: 3 })
      continue
    }
    t.match(reply.body, { step: 'runtime exec' }, `${how}: ${JSON.stringify(reply.body)}`)
    t.equal((await daemon.get(`/containers/one/processes/${id}`)).status, 404)
    t.match((await daemon.get('/containers/one')).body, { status: 'running', pid: body.pid, processes: [{ id: 'init' }] })
  }
  t.equal(await alive(other.pid), true, 'the process that was named was left alone')
  await fault()
  t.match((await daemon.post('/containers/one/processes?wait=true', { args: ['/bin/sh', '-c', 'exit 5'] })).body, { exit: { status: 5 } })
  t.same(events.types('one'), ['StateCreate', 'StateStart', 'StateStartProcess', 'StateExit', 'StateStartProcess', 'StateExit'])
  t.same((await readdir(join(daemon.root, 'containers/one', body.runId, 'processes'))).length, 2, 'no directory but those of the two that ran')
  while (await descriptors(shim) !== own) await new Promise((resolve) => setImmediate(resolve))
  t.equal((await daemon.delete('/containers/one?force=true')).status, 204)
  await nothingLeft(t, daemon)
  events.close()
})

t.test('create that names a process of somebody else', async (t) => {
  const { daemon, fault } = await faulty(t)
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const other = spawn('sleep', ['1000'])
  t.teardown(() => other.kill('SIGKILL'))
  await once(other, 'spawn')
  await fault(`create stranger ${other.pid ?? 0}`)
  t.match((await daemon.post('/containers', { id: 'one', bundle })).body, { status: 502, step: 'runtime create' })
  t.equal(await alive(other.pid), true)
  await nothingLeft(t, daemon)
})

t.test('pause and resume', async (t) => {
  const house = await faulty(t, '--start-timeout', '1')
  const { daemon, fault } = house
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'one', bundle })
  const freezer = async (): Promise<string | undefined> => await knob(body.pid, 'freezer', 'freezer.state')
  const there = await freezer() !== undefined
  const faults = [['hang', 504], ['fail', 422], ['crash', 502], ['garbage', 422], ['lie', 502]] as const
  for (const [how, status] of faults) {
    await fault(`pause ${how}`)
    t.match((await beside(t, house, 'one', daemon.post('/containers/one/pause'))).body, { status, step: 'runtime pause' }, `pause: ${how}`)
    t.equal((await daemon.get('/containers/one')).body.status, 'running')
    if (there) t.equal(await freezer(), 'THAWED')
  }
  await fault('pause late')
  t.equal((await daemon.post('/containers/one/pause')).body.status, 'paused')
  for (const [how, status] of faults) {
    await fault(`resume ${how}`)
    t.match((await beside(t, house, 'one', daemon.post('/containers/one/resume'))).body, { status, step: 'runtime resume' }, `resume: ${how}`)
    t.equal((await daemon.get('/containers/one')).body.status, 'paused')
    if (there) t.equal(await freezer(), 'FROZEN')
  }
  t.equal((await daemon.get('/containers/one')).body.status, 'paused')
  await fault('state hang')
  t.match((await beside(t, house, 'one', daemon.post('/containers/one/resume'))).body, { status: 502, step: 'runtime resume' }, 'a success that nothing confirms')
  await fault('resume late')
  await daemon.post('/containers/one/resume')
  t.equal((await daemon.get('/containers/one')).body.status, 'running')
  await fault()
  t.same(events.types('one'), ['StateCreate', 'StateStart', 'StatePause', 'StateResume'], 'nothing was told that was not so')
  t.equal((await daemon.delete('/containers/one?force=true')).status, 204)
  await nothingLeft(t, daemon)
  events.close()
})

t.test('update', async (t) => {
  const house = await faulty(t, '--start-timeout', '1')
  const { daemon, fault } = house
  const events = await daemon.events()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'], (config) => { config.linux.resources.memory = { limit: 64 * MiB } })
  const { body } = await daemon.post('/containers', { id: 'one', bundle })
  const limit = async (): Promise<string | undefined> => await knob(body.pid, 'memory', 'memory.limit_in_bytes')
  const before = await limit()
  const change = { resources: { memory: { limit: 96 * MiB } }, labels: { tier: 'gold' } }
  for (const [how, status] of [['hang', 504], ['fail', 422], ['crash', 502], ['garbage', 422], ['lie', 422]] as const) {
    await fault(`update ${how}`)
    t.match((await beside(t, house, 'one', daemon.request('PATCH', '/containers/one', change))).body, { status, step: 'runtime update' }, how)
    t.match((await daemon.get('/containers/one')).body, { status: 'running', resources: { memory: { limit: 64 * MiB } }, labels: {} })
    t.equal(await limit(), before)
  }
  await fault('update late')
  t.match((await daemon.request('PATCH', '/containers/one', change)).body, { resources: { memory: { limit: 96 * MiB } }, labels: { tier: 'gold' } })
  if (before !== undefined) t.equal(await limit(), String(96 * MiB))
  t.same(events.types('one'), ['StateCreate', 'StateStart', 'StateUpdate'])
  t.equal((await daemon.delete('/containers/one?force=true')).status, 204)
  await nothingLeft(t, daemon)
  events.close()
})

t.test('delete, and a state that says nothing: the run is not taken for gone', async (t) => {
  const house = await faulty(t, '--start-timeout', '1', '--reconcile-interval', '1000')
  const { daemon, fault } = house
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  for (const how of ['hang', 'crash', 'noise', 'lie']) {
    const { body } = await daemon.post('/containers', { id: how, bundle })
    await fault('delete fail', `state ${how}`)
    t.equal((await beside(t, house, how, daemon.delete(`/containers/${how}?force=true`))).status, 422, how)
    t.match((await daemon.get(`/containers/${how}`)).body, { status: 'stopped', exit: { signal: 'SIGKILL' } })
    t.same(await readdir(join(daemon.state, 'runtime')), [`${how}.${String(body.runId)}`], 'what the runtime keeps is left to it')
    await fault()
    t.equal((await daemon.delete(`/containers/${how}`)).status, 204)
    t.same(await groupsOf([`${how}.${String(body.runId)}`]), [])
    await nothingLeft(t, daemon)
  }
})

t.test('what it says of itself', async (t) => {
  const { daemon, fault } = await faulty(t)
  await fault('--version hang', 'features noise')
  const began = performance.now()
  const info = daemon.get('/info')
  t.equal((await daemon.get('/containers')).status, 200)
  t.equal((await daemon.get('/readyz')).status, 200)
  const { status, body } = await info
  t.equal(status, 200)
  t.ok(performance.now() - began < 15_000)
  t.match(body.runtimes.find(({ path }: { path: string }) => path.startsWith(daemon.directory)), { version: '', features: null })
  await fault()
})
