/** Processes that something outside the container keeps from ending: exits stay true, and who waits is told what blocks. */
import t from 'tap'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { blockersOf, isHeld } from '../../src/runtime/blocked.ts'
import type { Container } from '../../src/runtime/container.ts'
import { Task } from '../../src/supervisor/task.ts'
import { makeApi } from '../support/api.ts'
import { Daemon, project } from '../support/daemon.ts'

const run = promisify(execFile)
const soon = async (): Promise<void> => await new Promise((resolve) => setTimeout(resolve, 10))
const killed = { status: 137, signal: 'SIGKILL', reason: 'signaled' }

// They wait more than they work.
t.jobs = 3

let directory = ''
t.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'longshore-traced-'))
  for (const name of ['tracer', 'vfork-parent']) await run('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', join(directory, name), join(project, `test/support/${name}.c`)])
})
t.after(async () => await rm(directory, { recursive: true }))

class Overdue extends Task<undefined> {
  readonly kind = 'update'
  override timeout = 0.01
  readonly #work: Promise<undefined>

  constructor (work: Promise<undefined>) {
    super('one')
    this.#work = work
  }

  async execute (): Promise<undefined> {
    this.step = 'runtime update'
    return await this.#work
  }
}

/** One of the programs above, once it is ready; the end of its input ends it. */
async function begin (name: string, args: number[] = []): Promise<{ pid: number, end: () => Promise<void> }> {
  const child: ChildProcess = spawn(join(directory, name), args.map(String), { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const word = await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, 'data'), exited])
  if (String(word[0]) !== 'ready\n') throw new Error(`${name} ended`)
  return { pid: child.pid ?? 0, end: async () => { child.stdin?.end(); await exited } }
}

/** The pid of a process's one child. */
async function childOf (pid: number): Promise<number> {
  for (;; await soon()) {
    const child = Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim())
    if (child > 0) return child
  }
}

t.test('what a tracer holds: stop, signal and delete name it, reads go on, and its true exit is told once when it lets go', { buffered: true }, async (t) => {
  // The reconciler looks too, and must not take it for an exit that nobody told of.
  const daemon = await Daemon.start(['--reconcile-interval', '0.2'])
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const sleep = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const family = await daemon.bundle('family', ['/bin/sh', '-c', 'sleep 1000 & wait'])
  const pids = new Map<string, number>()
  for (const [id, bundle] of [['init', sleep], ['exec', sleep], ['child', family], ['orphan', sleep]] as const) pids.set(id, (await daemon.post('/containers', { id, bundle })).body.pid)
  const beside = (await daemon.post('/containers/exec/processes', { id: 'beside', args: ['/bin/sleep', '1000'] })).body.pid
  const init = pids.get('init') ?? 0
  const orphan = pids.get('orphan') ?? 0
  const child = await childOf(pids.get('child') ?? 0)
  const tracer = await begin('tracer', [init, beside, child, orphan])
  t.teardown(tracer.end)
  const held = (what: string): { status: number, code: string, step: RegExp } =>
    ({ status: 504, code: 'timeout', step: new RegExp(`${what} is dead but held by its tracer, pid ${tracer.pid} \\(tracer\\)`) })

  const began = performance.now()
  t.equal((await daemon.post('/containers/exec/signal', { processId: 'beside', signal: 'KILL' })).status, 204)
  const shim = Number(/^PPid:\s*(\d+)/m.exec(await readFile(`/proc/${orphan}/status`, 'utf8'))?.[1])
  process.kill(shim, 'SIGKILL')
  const answers = Promise.all([
    daemon.post('/containers/init/stop', { signal: 'KILL', timeout: 1 }),
    daemon.delete('/containers/exec?force=true'),
    daemon.post('/containers/child/stop', { signal: 'KILL', timeout: 1 })
  ])
  const asked = performance.now()
  for (let n = 0; n < 20; n++) {
    t.equal((await daemon.get('/containers')).body.items.length, 4)
    t.match((await daemon.get('/containers/init')).body, { exit: null })
  }
  t.ok(performance.now() - asked < 2000, 'reads go on')
  // The kernel takes signals for a zombie; the daemon knows better as soon as it has heard of the end.
  let refused = await daemon.post('/containers/init/signal', { signal: 'TERM' })
  for (; refused.status === 204; await soon()) refused = await daemon.post('/containers/init/signal', { signal: 'TERM' })
  t.equal(await isHeld(init), true)
  t.match(refused.body, { status: 409, detail: new RegExp(`held by its tracer, pid ${tracer.pid}`) })
  const [stopped, deleted, inside] = await answers
  t.ok(performance.now() - began < 7000, `all are answered, after ${Math.round(performance.now() - began)} ms`)
  t.match(stopped.body, held(`init \\(pid ${init}\\)`))
  t.match(deleted.body, held(`process beside \\(pid ${beside}\\)`))
  t.match(inside.body, held(`a child of init \\(pid ${child}\\)`))

  // Longer than a shim has that could tell of an end, and does not.
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + 5500 - performance.now())))
  t.same(events.events.filter(({ event }) => event === 'StateExit'), [], 'nothing is told while nobody can know')
  t.equal((await daemon.shims()).length, 3, 'no other shim is killed')

  await tracer.end()
  for (const id of ['init', 'exec', 'child']) t.match((await events.next(({ event, data }) => event === 'StateExit' && data.containerId === id && data.processId === 'init')).data.exit, killed, id)
  t.match((await events.next(({ event, data }) => event === 'StateExit' && data.processId === 'beside')).data.exit, killed)
  const { exit } = (await events.type('StateExit', 'orphan')).data
  t.equal(exit.reason, 'monitor-lost')
  t.ok(exit.status === 137 || exit.status === null, `the true status where the kernel keeps it: ${exit.status}`)
  for (const id of pids.keys()) t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
  const exits = events.events.filter(({ event }) => event === 'StateExit').map(({ data }) => `${data.containerId} ${data.processId}`)
  t.same(exits.sort(), ['child init', 'exec beside', 'exec init', 'init init', 'orphan init'], 'each once')
  t.same(await daemon.shims(), [])
  t.same(await readdir(join(daemon.state, 'runs')), [])
  t.same(await readdir(join(daemon.root, 'containers')), [])
  t.notMatch(daemon.output, /"repair":"exit","container":"(init|exec|child)"/, 'no notice of an exit was taken for lost')
  events.close()
})

t.test('another daemon that comes meanwhile waits too', { buffered: true }, async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body: { pid: init } } = await daemon.post('/containers', { id: 'one', bundle })
  const { body: { pid: beside } } = await daemon.post('/containers/one/processes', { id: 'beside', args: ['/bin/sleep', '1000'] })
  const tracer = await begin('tracer', [init, beside])
  t.teardown(tracer.end)
  for (const processId of ['beside', 'init']) t.equal((await daemon.post('/containers/one/signal', { processId, signal: 'KILL' })).status, 204)
  while (!await isHeld(beside)) await soon()
  await daemon.stop('SIGKILL')
  await daemon.launch(['--reconcile-interval', '0.05'])
  const events = await daemon.events('from=earliest')
  // Some twenty comparisons.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.same(events.types('one'), ['StateCreate', 'StateStart', 'StateStartProcess'])
  await tracer.end()
  for (const processId of ['beside', 'init']) t.match((await events.next(({ event, data }) => event === 'StateExit' && data.processId === processId)).data.exit, killed)
  t.equal((await daemon.delete('/containers/one')).status, 204)
  events.close()
})

t.test('a process in uninterruptible sleep is named, with its place in the kernel', { buffered: true }, async (t) => {
  const parent = await begin('vfork-parent')
  t.teardown(parent.end)
  // Its child speaks before the parent has gone to sleep for it.
  while (!/^State:\s*D/m.test(await readFile(`/proc/${parent.pid}/status`, 'utf8'))) await soon()
  const blocked = await blockersOf([{ label: 'init', pid: parent.pid }])
  t.match(blocked?.text, new RegExp(`^init \\(pid ${parent.pid}\\) is in uninterruptible sleep( \\(in \\w+\\))?$`))
  t.equal(blocked?.held, false)
  t.equal(await isHeld(parent.pid), false)
  t.equal(await blockersOf([{ label: 'init', pid: process.pid }]), undefined, 'one that is merely there')
  t.equal(await blockersOf([{ label: 'init', pid: 2 ** 22 }]), undefined, 'one that is gone')

  // The same is said at the deadline of any task of its container.
  const api = await makeApi()
  t.teardown(async () => await api.close())
  const container = { labels: {}, processes: new Map([['init', { id: 'init', isInit: true, status: 'running', pid: parent.pid }]]) }
  api.supervisor.containers.set('one', container as unknown as Container)
  t.teardown(() => api.supervisor.containers.delete('one'))
  const ended = Promise.withResolvers<undefined>()
  t.teardown(() => ended.resolve(undefined))
  const step = `runtime update; ${blocked?.text ?? ''}`
  await t.rejects(api.supervisor.send(new Overdue(ended.promise)), { code: 'timeout', message: step, extra: { step } })
})
