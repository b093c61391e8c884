import t from 'tap'
import { LongshoreError } from '../../src/errors.ts'
import type { Process } from '../../src/runtime/process.ts'
import { ExitTask } from '../../src/supervisor/exit.ts'
import { Lanes, Slots } from '../../src/supervisor/lanes.ts'
import type { Supervisor } from '../../src/supervisor/supervisor.ts'
import { Task } from '../../src/supervisor/task.ts'
import { isLive, next, transitions, type Status } from '../../src/runtime/states.ts'
import { makeApi } from '../support/api.ts'

class Work extends Task<string> {
  readonly kind = 'signal'
  readonly #work: () => Promise<string>

  constructor (id: string, work: () => Promise<string>) {
    super(id)
    this.#work = work
  }

  async execute (): Promise<string> {
    return await this.#work()
  }
}

function gate (): { open: () => void, passed: Promise<void> } {
  let open = (): void => {}
  const passed = new Promise<void>((resolve) => { open = resolve })
  return { open, passed }
}

t.test('a task settles once', async (t) => {
  const task = new Work('a', async () => 'x')
  task.succeed('first')
  task.succeed('second')
  task.fail(new Error('third'))
  t.equal(await task.done, 'first')
  t.equal(task.view().status, 'succeeded')
  const failed = new Work('a', async () => 'x')
  failed.fail(new LongshoreError('overloaded', 'no'))
  failed.succeed('late')
  await t.rejects(failed.done, { code: 'overloaded' })
  const odd = new Work('a', async () => 'x')
  odd.fail(new TypeError('inside'))
  await t.rejects(odd.done, { code: 'internal', message: /log has the reason/ })
})

t.test('one after another for a container, containers beside each other', async (t) => {
  const api = await makeApi()
  t.teardown(async () => await api.close())
  const { supervisor } = api
  const order: string[] = []
  const slow = gate()
  const first = supervisor.send(new Work('one', async () => { order.push('one begins'); await slow.passed; order.push('one ends'); return '' }))
  const second = supervisor.send(new Work('one', async () => { order.push('one again'); return '' }))
  await supervisor.send(new Work('two', async () => { order.push('two'); return '' }))
  t.equal(supervisor.queued, 1)
  slow.open()
  await Promise.all([first, second])
  t.same(order, ['one begins', 'two', 'one ends', 'one again'])
  await t.rejects(supervisor.send(new Work('one', async () => { throw new LongshoreError('invalid_state', 'no') })), { code: 'invalid_state' })
  t.equal(await supervisor.send(new Work('one', async () => 'still works')), 'still works')
})

t.test('past its deadline a task is answered, and goes on', async (t) => {
  const api = await makeApi()
  t.teardown(async () => await api.close())
  const held = gate()
  const task = new Work('one', async () => { task.step = 'runtime create'; await held.passed; return 'done' })
  task.timeout = 0.05
  const behind = new Work('one', async () => 'too')
  behind.timeout = 0.05
  const answers = Promise.allSettled([api.supervisor.send(task), api.supervisor.send(behind)])
  const [one, two] = await answers
  t.match(one, { status: 'rejected', reason: { code: 'timeout', status: 504, extra: { step: 'runtime create', taskId: task.id } } })
  t.match(two, { status: 'rejected', reason: { code: 'timeout', extra: { step: 'queued' } } })
  t.match((await api.app.inject(`/tasks/${task.id}`)).json(), { status: 'running', step: 'runtime create' })
  held.open()
  t.equal(await task.done, 'done')
  t.match((await api.app.inject(`/tasks/${task.id}`)).json(), { status: 'succeeded', error: null })
})

t.test('a bound on what is under way', async (t) => {
  const api = await makeApi(['--max-queued-tasks', '2'])
  t.teardown(async () => await api.close())
  const held = gate()
  const work = [1, 2].map(async () => await api.supervisor.send(new Work('one', async () => { await held.passed; return '' })))
  const refused = await api.app.inject({ method: 'POST', url: '/containers', payload: { bundle: '/x' } })
  t.equal(refused.statusCode, 429)
  t.equal(refused.json().code, 'overloaded')
  t.equal(refused.headers['retry-after'], '1')
  t.equal((await api.app.inject('/containers')).statusCode, 200, 'reads are not refused')
  held.open()
  await Promise.all(work)
  t.equal((await api.app.inject({ method: 'POST', url: '/containers', payload: { bundle: '/x' } })).json().code, 'invalid_bundle')
})

t.test('places for runtime calls are given in order, and back once', async (t) => {
  const slots = new Slots(1)
  const release = await slots.take()
  let got = 0
  const waiting = [slots.take().then((free) => { got++; return free }), slots.take().then((free) => { got++; return free })]
  release()
  release()
  const free = await waiting[0]
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(got, 1, 'giving back twice frees one place')
  free?.()
  await waiting[1]
  t.equal(got, 2)
})

t.test('lanes forget a container that has nothing to do', async (t) => {
  const lanes = new Lanes()
  await new Promise<void>((resolve) => lanes.push('a', async () => resolve()))
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(lanes.busy, 0)
})

t.test('the exit of an earlier run ends nothing', async (t) => {
  const container = { run: { runId: 'later' } }
  const supervisor = { containers: new Map([['a', container]]) } as unknown as Supervisor
  const init = { ended: { waitStatus: 0 }, exit: null, isInit: true } as unknown as Process
  await new ExitTask({ containerId: 'a', runId: 'earlier', process: init }).execute(supervisor)
  await new ExitTask({ containerId: 'gone', runId: 'earlier', process: init }).execute(supervisor)
  t.same(container, { run: { runId: 'later' } }, 'nothing was asked of the supervisor')
})

t.test('the table of states', async (t) => {
  t.equal(next('c', 'created', 'start'), 'running')
  t.equal(next('c', 'running', 'exit'), 'stopped')
  for (const [status, move, code] of [
    ['running', 'start', 'container_running'],
    ['running', 'remove', 'container_running'],
    ['paused', 'remove', 'container_running'],
    ['stopped', 'signal', 'container_not_running'],
    ['stopped', 'exit', 'invalid_state'],
    ['deleting', 'start', 'invalid_state'],
    ['lost', 'signal', 'invalid_state']
  ] as const) {
    try {
      next('c', status, move)
      t.fail(`${move} of a ${status} one`)
    } catch (error) {
      t.match(error, { code, message: new RegExp(`${status}.*${move}`) }, `${status} × ${move} names both`)
    }
  }
  for (const status of Object.keys(transitions) as Status[]) {
    if (isLive(status)) t.equal(transitions[status].exit, 'stopped', `a ${status} container can exit`)
    for (const to of Object.values(transitions[status])) t.ok(to in transitions, `${to} is a state`)
  }
})
