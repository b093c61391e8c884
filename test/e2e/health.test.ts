/** Health checks on real containers: a command, TCP, HTTP, and what follows when they fail. */
import t from 'tap'
import { randomBytes } from 'node:crypto'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, trap, type EventReader } from '../support/daemon.ts'

const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())
const bundle = await daemon.bundle('trap', trap(4))
const often = { interval: 0.1, timeout: 20, retries: 2 }

type Health = { status: string, failingStreak: number, lastAt: string | null, output: string | null }
const healthOf = async (id: string): Promise<Health> => (await daemon.get(`/containers/${id}`)).body.health
const create = async (id: string, healthCheck: object, more: object = {}) => await daemon.post('/containers', { id, bundle, healthCheck, stopTimeout: 1, ...more })
const told = (events: EventReader, id: string): string[] => events.events.filter(({ event, data }) => event === 'StateHealth' && data.containerId === id).map(({ data }) => data.health.status)
const becomes = async (events: EventReader, id: string, status: string) => (await events.next(({ event, data }) => event === 'StateHealth' && data.containerId === id && data.health.status === status)).data

async function until (what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !await condition(); await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}`)
  }
}

/** Host pids of processes with this text in their command line. */
async function processesWith (text: string): Promise<number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  const found = await Promise.all(names.map(async (name) => {
    const line = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')
    return line.includes(text) ? [Number(name)] : []
  }))
  return found.flat()
}

t.test('what is refused, and how it is shown', async (t) => {
  for (const check of [{}, { exec: { args: ['a'] }, tcp: { port: 1 } }, { exec: { args: [] } }, { tcp: { port: 0 } }, { http: { port: 80, path: 'x' } }, { http: { port: 80, path: '/a b' } }, { tcp: { port: 1 }, interval: 0 }, { tcp: { port: 1 }, retries: 0 }, { tcp: { port: 1 }, onUnhealthy: 'pray' }]) {
    t.match(await create('refused', check), { status: 400 }, JSON.stringify(check))
  }
  t.match(await create('refused', { tcp: { port: 1 }, onUnhealthy: 'restart' }, { autoRemove: true }), { status: 400 })
  t.match((await create('later', { http: { port: 8080 } }, { start: false })).body, {
    healthCheck: { http: { port: 8080, path: '/' }, interval: 30, timeout: 30, retries: 3, startPeriod: 0, onUnhealthy: 'none' },
    health: { status: 'starting', failingStreak: 0, lastAt: null, output: null }
  })
  t.equal((await daemon.post('/containers', { id: 'without', bundle })).body.health, null)
  for (const id of ['later', 'without']) t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
})

t.test('a command: told on change only, and not as a process; none while it is paused; over a daemon that is killed', async (t) => {
  const events = await daemon.events()
  const flag = join(bundle, 'rootfs/tmp/alive')
  await writeFile(flag, 'it lives')
  await create('box', { exec: { args: ['/bin/sh', '-c', 'cat /tmp/alive && yes | head -c 100000'] }, ...often })
  const { health, taskId } = await becomes(events, 'box', 'healthy')
  t.match(health, { failingStreak: 0, output: /^it lives/ })
  t.ok(health.output.length <= 4096)
  t.match((await daemon.get(`/tasks/${taskId}`)).body, { kind: 'health', status: 'succeeded' })
  const { lastAt } = await healthOf('box')
  await until('another check', async () => (await healthOf('box')).lastAt !== lastAt)
  t.same((await daemon.get('/containers/box/processes')).body.items.map(({ id }: { id: string }) => id), ['init'])

  await daemon.post('/containers/box/pause')
  await rm(flag)
  const paused = await healthOf('box')
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.same(await healthOf('box'), paused, 'nothing is asked of what is paused')
  await daemon.post('/containers/box/resume')
  t.match((await becomes(events, 'box', 'unhealthy')).health, { failingStreak: 2, output: /No such file/ })

  await daemon.stop('SIGKILL')
  const last = events.events.at(-1)?.id ?? ''
  await writeFile(flag, 'again')
  await daemon.launch([], { LONGSHORE_FAILPOINT: 'health.told' }).catch(() => {})
  await until('the daemon has died at it', async () => daemon.child === undefined || daemon.child.exitCode !== null || daemon.child.signalCode !== null)
  await daemon.stop('SIGKILL')
  await rm(flag)
  await daemon.launch()
  const resumed = await daemon.events('', { 'last-event-id': last })
  await becomes(resumed, 'box', 'unhealthy')
  t.same(told(resumed, 'box'), ['healthy', 'unhealthy'], 'each change once, also over a daemon that died behind it')
  t.same(new Set([...events.types('box'), ...resumed.types('box')]), new Set(['StateCreate', 'StateStart', 'StateHealth', 'StatePause', 'StateResume']))
  t.equal((await daemon.delete('/containers/box?force=true')).status, 204)
  for (const reader of [events, resumed]) reader.close()
})

t.test('a check that hangs is ended with all that it started, and delays nobody', async (t) => {
  const events = await daemon.events()
  const mark = `3${randomBytes(3).readUIntBE(0, 3)}`
  await create('hangs', { exec: { args: ['/bin/sh', '-c', `/bin/busybox setsid /bin/sleep ${mark} & trap '' TERM; echo begun; /bin/sleep ${mark}; :`] }, ...often, timeout: 5, retries: 1 })
  await until('it is under way', async () => (await processesWith(mark)).length > 0)
  t.equal((await daemon.post('/containers/hangs/signal', { signal: 0 })).status, 204)
  t.match((await daemon.post('/containers/hangs/processes?wait=true', { args: ['/bin/echo', 'hello'] })).status, /20./)
  t.match((await becomes(events, 'hangs', 'unhealthy')).health.output, /did not finish within 5 s.*begun/s)
  t.equal((await daemon.delete('/containers/hangs?force=true')).status, 204)
  await until('nothing of it is left', async () => (await processesWith(mark)).length === 0)

  await create('sleeper', { exec: { args: ['/bin/sleep', mark] }, ...often })
  await until('it is under way', async () => (await processesWith(mark)).length > 0)
  await daemon.stop('SIGKILL')
  const left = await processesWith(mark)
  t.ok(left.length > 0)
  await daemon.launch()
  await until('what the dead daemon had begun is ended', async () => !(await processesWith(mark)).some((pid) => left.includes(pid)))
  t.equal((await daemon.post('/containers/sleeper/stop')).body.status, 'stopped')
  await until('a check ends with its container', async () => (await processesWith(mark)).length === 0)
  t.match(await healthOf('sleeper'), { status: 'starting' })
  t.equal((await daemon.delete('/containers/sleeper')).status, 204)
  events.close()
})

t.test("TCP and HTTP in the container's own network", async (t) => {
  const events = await daemon.events()
  const served = await daemon.bundle('served', ['/bin/sh', '-c', `/bin/busybox mkdir -p /tmp/www; echo fine > /tmp/www/index.html
    /bin/busybox httpd -p 127.0.0.1:8080 -h /tmp/www; trap 'exit 0' TERM; while :; do sleep 1 & wait; done`])
  await daemon.post('/containers', { id: 'http', bundle: served, healthCheck: { http: { port: 8080, path: '/index.html' }, ...often } })
  await daemon.post('/containers', { id: 'missing', bundle: served, healthCheck: { http: { port: 8080, path: '/none' }, ...often } })
  await daemon.post('/containers', { id: 'tcp', bundle: served, healthCheck: { tcp: { port: 8080 }, ...often } })
  await daemon.post('/containers', { id: 'alone', bundle, healthCheck: { tcp: { port: 8080 }, ...often } })
  t.match((await becomes(events, 'http', 'healthy')).health, { output: 'HTTP/1.1 200 OK' })
  t.match((await becomes(events, 'tcp', 'healthy')).health, { output: 'connected to 127.0.0.1:8080' })
  await becomes(events, 'missing', 'unhealthy')
  await until('the server answers', async () => /^HTTP\/1.1 404/.test((await healthOf('missing')).output ?? ''))
  t.match(await healthOf('missing'), { status: 'unhealthy' })
  t.match((await becomes(events, 'alone', 'unhealthy')).health, { output: /127.0.0.1:8080: Connection refused/ }, 'its network is its own: the servers of others are not seen')
  for (const id of ['http', 'missing', 'tcp', 'alone']) t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
  events.close()
})

t.test('what an unhealthy container comes to', async (t) => {
  const events = await daemon.events()
  const failing = { exec: { args: ['/bin/false'] }, ...often, retries: 1 }
  await create('stops', { ...failing, onUnhealthy: 'stop' }, { restartPolicy: { name: 'always', initialDelay: 0 } })
  t.match((await events.type('StateExit', 'stops')).data.exit, { reason: /exited|signaled/ })
  t.same(events.types('stops'), ['StateCreate', 'StateStart', 'StateHealth', 'StateExit'])
  t.match((await daemon.get('/containers/stops')).body, { status: 'stopped', restart: { reason: 'stopped' }, health: { status: 'unhealthy', output: 'it exited with 1' } })
  await create('killed', { ...failing, onUnhealthy: 'kill' })
  t.match((await events.type('StateExit', 'killed')).data.exit, { status: 137, signal: 'SIGKILL' })
  for (const id of ['stops', 'killed']) t.equal((await daemon.delete(`/containers/${id}`)).status, 204)

  // Each daemon dies at its point; the one after it comes to the same, without a policy too.
  for (const point of ['health.told', 'health.acting']) {
    const id = `again-${point.slice(7)}`
    await daemon.stop()
    await daemon.launch([], { LONGSHORE_FAILPOINT: point })
    await create(id, { exec: { args: ['/bin/sh', '-c', '[ -e /tmp/twice ] || exit 3'] }, ...often, interval: 1, retries: 1, onUnhealthy: 'restart' }).catch(() => {})
    await until(`it dies at ${point}`, async () => daemon.child?.signalCode === 'SIGKILL')
    await daemon.launch()
    const reader = await daemon.events(`from=earliest&container=${id}`)
    await reader.next(() => reader.types(id).filter((type) => type === 'StateStart').length > 1)
    await writeFile(join(bundle, 'rootfs/tmp/twice'), '')
    t.match(reader.events.find(({ event }) => event === 'StateRestartScheduled')?.data, { restart: { reason: 'unhealthy' } })
    t.same(reader.types(id).slice(0, 6), ['StateCreate', 'StateStart', 'StateHealth', 'StateExit', 'StateRestartScheduled', 'StateStart'], `${point}: each step once`)
    await reader.next(({ event, data }) => event === 'StateHealth' && data.health.status === 'healthy')
    await rm(join(bundle, 'rootfs/tmp/twice'))
    t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
    reader.close()
  }
  events.close()
})
