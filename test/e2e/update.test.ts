/** Resources and labels of containers, changed while they run, while they do not, and over the end of the daemon. */
import t from 'tap'
import { spawnSync } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Failpoint } from '../../src/failpoints.ts'
import { Daemon, trap, type Reply } from '../support/daemon.ts'

const MiB = 1024 * 1024

/** What the kernel says: a file of a container's group on cgroup v1. */
async function knob (pid: number, controller: string, file: string): Promise<string> {
  const line = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n').find((one) => one.split(':')[1] === controller) ?? ''
  return (await readFile(join('/sys/fs/cgroup', controller, line.split(':').slice(2).join(':'), file), 'utf8')).trim()
}

async function knobs (pid: number): Promise<Record<string, string>> {
  const all = [['memory', 'memory.limit_in_bytes'], ['memory', 'memory.soft_limit_in_bytes'], ['cpu', 'cpu.shares'], ['cpu', 'cpu.cfs_quota_us'], ['cpu', 'cpu.cfs_period_us'], ['pids', 'pids.max'], ['cpuset', 'cpuset.cpus']] as const
  return Object.fromEntries(await Promise.all(all.map(async ([controller, file]) => [file, await knob(pid, controller, file)])))
}

const patch = async (daemon: Daemon, id: string, body: unknown): Promise<Reply> => await daemon.request('PATCH', `/containers/${id}`, body)

const limited = (config: any): void => { config.linux.resources = { ...config.linux.resources, memory: { limit: 64 * MiB }, pids: { limit: 50 } } } // any: see makeBundle

t.test('resources and labels of a running container', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const labelled = await daemon.events('from=now&label=tier=gold')
  const bundle = await daemon.bundle('trap', trap(6), limited)
  const { body } = await daemon.post('/containers', { id: 'one', bundle, labels: { app: 'web', tier: 'silver' } })
  t.same(body.resources, { memory: { limit: 64 * MiB }, pids: { limit: 50 } }, "the bundle's are shown")

  const changed = await patch(daemon, 'one', {
    resources: { memory: { limit: 96 * MiB, reservation: 32 * MiB }, cpu: { shares: 512, quota: 50_000, cpus: '0' }, pids: { limit: 60 } },
    labels: { tier: 'gold', extra: 'x', absent: null }
  })
  const resources = { memory: { limit: 96 * MiB, reservation: 32 * MiB }, cpu: { shares: 512, quota: 50_000, cpus: '0' }, pids: { limit: 60 } }
  t.match(changed, { status: 200, body: { id: 'one', status: 'running', labels: { app: 'web', tier: 'gold', extra: 'x' } } })
  t.same(changed.body.resources, resources)
  const now = await knobs(body.pid)
  t.same(now, { 'memory.limit_in_bytes': String(96 * MiB), 'memory.soft_limit_in_bytes': String(32 * MiB), 'cpu.shares': '512', 'cpu.cfs_quota_us': '50000', 'cpu.cfs_period_us': '100000', 'pids.max': '60', 'cpuset.cpus': '0' })
  const told = await labelled.type('StateUpdate', 'one')
  t.match(told.data, { runId: body.runId, labels: { app: 'web', tier: 'gold', extra: 'x' } }, 'told with the labels that it has now')
  t.match((await daemon.get('/containers/one')).body, { lastEventId: told.id, resources })
  t.match((await daemon.get('/containers?label=tier=gold')).body.items, [{ id: 'one' }])
  t.same((await daemon.get('/containers?label=tier=silver')).body.items, [])

  for (const [what, change, expected] of [
    ['a limit that the kernel refuses', { resources: { pids: { limit: 70 }, cpu: { shares: 700, quota: -1, cpus: '0-1' }, memory: { limit: 8192, reservation: null } }, labels: { app: 'other' } }, { status: 422, body: { code: 'runtime_failed', runtime: /memory/ } }],
    ['a CPU that is not there', { resources: { cpu: { cpus: '0,4000', shares: 3 } } }, { status: 422, body: { code: 'invalid_resources', errors: [{ field: 'resources.cpu.cpus' }] } }],
    ['zero', { resources: { pids: { limit: 0 } } }, { status: 422, body: { code: 'invalid_resources', errors: [{ field: 'resources.pids.limit' }] } }],
    ['swap below the limit', { resources: { memory: { swap: MiB } } }, { status: 422, body: { code: 'invalid_resources', errors: [{ field: 'resources.memory.swap' }] } }],
    ['an unknown field', { resources: { memory: { kernel: 1 } } }, { status: 400, body: { code: 'bad_request' } }],
    ['another type', { resources: { memory: { limit: '1' } } }, { status: 400, body: { code: 'bad_request' } }],
    ['a field that cannot be changed', { bundle: '/x' }, { status: 400, body: { code: 'bad_request' } }],
    ['too many labels', { labels: Object.fromEntries(Array.from({ length: 63 }, (_, index) => [`l${index}`, ''])) }, { status: 400, body: { code: 'bad_request', errors: [{ field: 'labels' }] } }]
  ] as const) {
    t.match(await patch(daemon, 'one', change), expected, what)
    t.same(await knobs(body.pid), now, `${what}: all is as it was`)
    t.match((await daemon.get('/containers/one')).body, { lastEventId: told.id, resources, labels: { app: 'web' } })
  }
  t.equal((await patch(daemon, 'nobody', {})).body.code, 'container_not_found')
  t.match(await patch(daemon, 'one', {}), { status: 200, body: { lastEventId: told.id } }, 'nothing asked, nothing told')

  const weighed = await patch(daemon, 'one', { resources: { blockIO: { weight: 300 } } })
  const weight = await knob(body.pid, 'blkio', 'blkio.bfq.weight').catch(() => knob(body.pid, 'blkio', 'blkio.weight')).catch(() => undefined)
  if (weight === undefined) t.match(weighed, { status: 422, body: { code: 'runtime_failed' } }, 'this kernel has no weights')
  else t.equal(weight, '300')

  const cleared = await daemon.request('PATCH', '/containers/one', { resources: { memory: null, cpu: { shares: null, quota: null, cpus: null }, pids: { limit: null }, blockIO: null } }, { 'content-type': 'application/merge-patch+json' })
  t.equal(cleared.status, 200)
  t.same(cleared.body.resources, {}, 'what the bundle says is cleared too')
  const free = await knobs(body.pid)
  if (weight !== undefined) t.not(await knob(body.pid, 'blkio', 'blkio.bfq.weight').catch(() => knob(body.pid, 'blkio', 'blkio.weight')), '300')
  t.match(free, { 'cpu.shares': '1024', 'cpu.cfs_quota_us': '-1', 'pids.max': 'max' })
  t.ok(Number(free['memory.limit_in_bytes']) > 2 ** 60)
  t.equal(free['cpuset.cpus'], (await readFile('/sys/fs/cgroup/cpuset/cpuset.cpus', 'utf8')).trim())

  await daemon.post('/containers/one/stop', { timeout: 60 })
  t.match(await patch(daemon, 'one', { resources: { pids: { limit: 40 } } }), { status: 200, body: { status: 'stopped', resources: { pids: { limit: 40 } } } })
  const again = (await daemon.post('/containers/one/start')).body
  t.match(await knobs(again.pid), { 'pids.max': '40', 'cpu.shares': '1024' }, 'at the next start it has what was asked for meanwhile')
  t.ok(Number(await knob(again.pid, 'memory', 'memory.limit_in_bytes')) > 2 ** 60, 'and not what was cleared')
  t.same(events.types('one').filter((type) => type === 'StateUpdate').length, weight === undefined ? 3 : 4, 'one event for each change')
  events.close()
  labelled.close()
})

t.test('an update that the end of the daemon interrupts is done to its end, and told once', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const die = (point: Failpoint): Record<string, string> => ({ LONGSHORE_FAILPOINT: point })
  await daemon.launch([], die('update.recorded'))
  const { body } = await daemon.post('/containers', { id: 'one', bundle: await daemon.bundle('trap', trap(6), limited) })
  const isAt = async (round: string, limit: number): Promise<void> => {
    t.match((await daemon.get('/containers/one')).body, { status: 'running', pid: body.pid, labels: { round }, resources: { pids: { limit }, memory: { limit: 64 * MiB } } })
    t.equal(await knob(body.pid, 'pids', 'pids.max'), String(limit))
  }
  await t.rejects(patch(daemon, 'one', { resources: { pids: { limit: 70 } }, labels: { round: 'first' } }), 'it dies before it begins')
  await daemon.stop('SIGKILL')
  await t.rejects(daemon.launch([], die('update.told')), 'the next one does it, and dies when it has told')
  await daemon.stop('SIGKILL')
  await daemon.launch([], die('update.applied'))
  await isAt('first', 70)
  await t.rejects(patch(daemon, 'one', { resources: { pids: { limit: 71 } }, labels: { round: 'second' } }), 'it dies before it tells')
  await daemon.stop('SIGKILL')
  await daemon.launch()
  await isAt('second', 71)
  const { items } = (await daemon.get('/events?follow=false&type=StateUpdate')).body
  t.same(items.map(({ labels }: any) => labels.round), ['first', 'second']) // any: the wire
})

t.test('crun is asked in the same way', { skip: spawnSync('crun', ['--version']).error === undefined ? false : 'crun is not installed' }, async (t) => {
  const daemon = await Daemon.prepare()
  // crun 1.8 refuses a v1 set-up that has the v2 hierarchy beside it.
  daemon.through = ['unshare', '--mount', 'sh', '-c', 'umount /sys/fs/cgroup/unified; exec "$@"', 'sh']
  t.teardown(async () => await daemon.destroy())
  await daemon.launch()
  const bundle = await daemon.bundle('trap', trap(6), limited)
  const { body } = await daemon.post('/containers', { id: 'crun', bundle, runtime: 'crun' })
  t.match(await patch(daemon, 'crun', { resources: { pids: { limit: 33 }, cpu: { quota: 20_000 }, memory: { limit: 80 * MiB } } }), { status: 200, body: { resources: { pids: { limit: 33 } } } })
  t.match(await knobs(body.pid), { 'pids.max': '33', 'cpu.cfs_quota_us': '20000', 'memory.limit_in_bytes': String(80 * MiB) })
})

t.test('a runtime that only says that it did is found out', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('trap', trap(6), limited)
  const liar = join(daemon.directory, 'liar')
  await writeFile(liar, '#!/bin/sh\ncase "$*" in *" update "*) exit 0 ;; esac\nexec runc "$@"\n')
  await chmod(liar, 0o755)
  const lied = (await daemon.post('/containers', { id: 'liar', bundle, runtime: liar })).body
  t.match(await patch(daemon, 'liar', { resources: { pids: { limit: 33 } } }), { status: 422, body: { code: 'runtime_failed', detail: /reported success, but pids.limit was to be 33, and the kernel has 50/ } })
  t.equal(await knob(lied.pid, 'pids', 'pids.max'), '50')
  t.match((await daemon.get('/containers/liar')).body.resources, { pids: { limit: 50 } })
})
