/** The daemon dies at each step of create, start, exit, delete and restore; the next one brings it to a true end. */
import t from 'tap'
import type { Failpoint } from '../../src/failpoints.ts'
import { Daemon, trap } from '../support/daemon.ts'
import { Follower, leftBehind, marker, wholeJournal } from './chaos.ts'
import { check, type Fault, type Operation } from './checker.ts'

t.setTimeout(390_000)
t.jobs = 2

const points: (Failpoint | `${Failpoint}:${number}`)[] = [
  'create.recorded', 'create.spawned', 'create.armed', 'create.told', 'create.recorded:2', 'create.spawned:2', 'create.armed:2',
  'start.called', 'start.told', 'start.called:2', 'exit.seen', 'exit.told', 'teardown.deleted', 'teardown.quit', 'teardown.cleared', 'delete.forgotten', 'delete.told',
  'journal.committed:1', 'journal.committed:2', 'journal.committed:3', 'journal.committed:4', 'journal.committed:6'
]
const inRestore: Failpoint[] = ['restore.loaded', 'restore.connected', 'restore.armed']

/** One container's life, asked for again and again until each step has come to its end, however often the daemon goes away. */
async function live (daemon: Daemon, operations: Operation[], faults: Fault[], follower: Follower, seed: number): Promise<void> {
  const id = 'c0'
  const bundle = await daemon.bundle('trap', trap(6), (config) => config.process.env.push(`${marker}=${seed}`))
  const ask = async (verb: Operation['verb'], method: string, path: string, body?: unknown): Promise<Operation['answer']> => {
    for (let tries = 0; tries < 5; tries++) {
      const operation: Operation = { verb, id }
      operations.push(operation)
      try {
        const { status, body: answer } = await daemon.request(method, path, body)
        operation.answer = { status, body: answer }
        return operation.answer
      } catch {
        // It died at its failpoint; the next one has none.
        await daemon.stop('SIGKILL')
        faults.push({ kind: 'daemon' })
        await daemon.launch()
        await follower.connect(daemon)
      }
    }
    throw new Error(`${verb} was never answered`)
  }
  await ask('create', 'POST', '/containers', { id, bundle, start: false })
  if ((await ask('get', 'GET', `/containers/${id}`))?.status === 404) await ask('create', 'POST', '/containers', { id, bundle, start: false })
  await ask('start', 'POST', `/containers/${id}/start`, {})
  await ask('signal', 'POST', `/containers/${id}/signal`, { signal: 'KILL' })
  await ask('wait', 'GET', `/containers/${id}/wait`)
  await ask('start', 'POST', `/containers/${id}/start`, {})
  await ask('get', 'GET', `/containers/${id}`)
  await ask('delete', 'DELETE', `/containers/${id}?force=true`)
  await ask('get', 'GET', `/containers/${id}`)
}

for (const [index, point] of [...points, ...inRestore].entries()) {
  // Two at once: each looks for what is left of its own.
  const seed = process.pid * 100 + index
  t.test(point, { buffered: true, timeout: 60_000 }, async (t) => {
    const daemon = await Daemon.prepare()
    t.teardown(async () => await daemon.destroy())
    const operations: Operation[] = []
    const faults: Fault[] = []
    const follower = new Follower()
    if (point.startsWith('restore.')) {
      await daemon.launch()
      await follower.connect(daemon)
      const bundle = await daemon.bundle('other', trap(6), (config) => config.process.env.push(`${marker}=${seed}`))
      await daemon.post('/containers', { id: 'c1', bundle })
      await daemon.stop('SIGKILL')
      await t.rejects(daemon.launch([], { LONGSHORE_FAILPOINT: point }), /ended/)
      await daemon.launch()
      await follower.connect(daemon)
      t.match((await daemon.get('/containers/c1')).body, { status: 'running' })
      await daemon.delete('/containers/c1?force=true')
      operations.push({ verb: 'delete', id: 'c1' })
    } else {
      await daemon.launch([], { LONGSHORE_FAILPOINT: point })
      await follower.connect(daemon)
      await live(daemon, operations, faults, follower, seed)
      t.equal(faults.length, 1, 'it died once')
    }
    const journal = await wholeJournal(daemon)
    const last = journal.at(-1)
    if (last !== undefined) await follower.reach(last.id)
    follower.close()
    const verdict = check({ journal, readers: [follower.seen], operations, faults, ownStatus: () => 6, leftovers: await leftBehind(daemon, seed) })
    for (const [what, list] of Object.entries(verdict)) t.same(list, [], what)
    if (!t.passing()) t.comment(`${journal.map(({ type, runId }) => `${type}(${runId ?? ''})`).join(' ')}\n${operations.map(({ verb, answer }) => `${verb} ${answer?.status ?? '-'} ${answer?.body?.code ?? ''}`).join(', ')}\n${daemon.output.slice(-3000)}`)
  })
}
