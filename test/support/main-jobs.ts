import { existsSync } from 'node:fs'
import type { Test } from 'tap'
import { trap, type Daemon } from './daemon.ts'

const megabyte = 1024 * 1024

export type Host = {
  /** the memory and pids controllers are there, so limits hold and kills are counted */
  limits: boolean
}

/** What a container is for, once through: on runtimes and hierarchies other than those that most tests run on. */
export async function mainJobs (t: Test, daemon: Daemon, { limits }: Host): Promise<void> {
  const events = await daemon.events()
  t.teardown(() => events.close())
  const sh = (script: string): { args: string[] } => ({ args: ['/bin/sh', '-c', script] })
  const exec = async (id: string, body: object, query = '?wait=true') => await daemon.post(`/containers/${id}/processes${query}`, body)
  const bundle = await daemon.bundle('jobs', trap(6), (config) => { if (limits) config.linux.resources.memory = { limit: 32 * megabyte } })

  const created = await daemon.post('/containers', { id: 'one', bundle })
  t.match(created, { status: 201, body: { status: 'running' } }, created.text)
  t.match((await exec('one', { ...sh('echo $WHO; pwd; echo bad >&2; exit 7'), env: ['WHO=me'], cwd: '/tmp' })).body, { stdout: 'me\n/tmp\n', stderr: 'bad\n', exit: { status: 7 } })
  t.match(await exec('one', { args: ['/no/such'] }), { status: 422, body: { code: 'runtime_failed' } })
  await exec('one', { id: 'long', ...sh("trap 'exit 9' TERM; echo up; while :; do sleep 1 & wait; done") }, '')
  while ((await daemon.get('/containers/one/processes/long/logs')).text !== 'up\n') await new Promise((resolve) => setTimeout(resolve, 10))
  t.equal((await daemon.post('/containers/one/processes/long/signal', { signal: 'TERM' })).status, 204)
  t.match((await daemon.get('/containers/one/processes/long/wait?timeout=30')).body, { status: 9 })
  t.ok((await daemon.get('/containers/one/top')).body.items.length > 0)

  const { body: stats } = await daemon.get('/containers/one/stats')
  t.equal(typeof stats.memory.usage, limits ? 'number' : 'object', 'null where the kernel does not tell it')
  if (!limits) t.same([stats.memory.usage, stats.pids.limit, stats.oomKills], [null, null, null])
  if (limits) {
    t.match(await daemon.request('PATCH', '/containers/one', { resources: { memory: { limit: 24 * megabyte } } }), { status: 200 })
    // A sample may be a moment old, so one that spans a moment is asked for.
    t.equal((await daemon.get('/containers/one/stats?interval=1')).body.memory.limit, 24 * megabyte)
    t.match((await exec('one', { id: 'hog', args: ['/bin/tail', '/dev/zero'] })).body.exit, { reason: 'oom', oomKilled: true })
    await events.next(({ event, data }) => event === 'StateExit' && data.processId === 'hog')
    t.ok(events.types('one').includes('StateOOM'))
  }

  await daemon.trapped('one')
  t.match(await daemon.post('/containers/one/pause'), { status: 200, body: { status: 'paused' } })
  t.equal((await daemon.post('/containers/one/signal', { signal: 'TERM' })).status, 204)
  t.match((await daemon.get('/containers/one')).body, { status: 'paused', exit: null })
  t.match(await daemon.post('/containers/one/resume'), { status: 200 })
  t.match((await events.next(({ event, data }) => event === 'StateExit' && data.processId === 'init')).data.exit, { status: 6 })

  const { body: second } = await daemon.post('/containers/one/start')
  t.match(second, { status: 'running' })
  await exec('one', { id: 'deaf', ...sh("trap '' TERM; while :; do sleep 1; done") }, '')
  t.equal((await daemon.post('/containers/one/signal', { signal: 'KILL', all: true })).status, 204)
  t.match((await daemon.get('/containers/one/wait?timeout=30')).body, { status: 137, signal: 'SIGKILL' })
  t.match((await daemon.get('/containers/one/processes/deaf/wait?timeout=30')).body, { status: 137, signal: 'SIGKILL' })
  t.equal((await daemon.delete('/containers/one')).status, 204)
  t.notOk(existsSync(`/proc/${second.pid}`))
  while ((await daemon.shims()).length > 0) await new Promise((resolve) => setTimeout(resolve, 10))
}
