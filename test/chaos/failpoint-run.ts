/** One container's life with a daemon that dies at one step of it; the next daemon brings it to a true end. */
import type { Failpoint } from '../../src/failpoints.ts'
import { Daemon, trap } from '../support/daemon.ts'
import { leftBehind, marker } from './chaos.ts'
import { check, type Fault, type Operation, type Verdict } from './checker.ts'
import { Follower, wholeJournal } from './follower.ts'

export type Step = Failpoint | `${Failpoint}:${number}`
export type FailpointReport = { verdict: Verdict, deaths: number, story: string }

/** Asked for again and again until each verb has come to its end, however often the daemon goes away. */
async function live (daemon: Daemon, operations: Operation[], faults: Fault[], follower: Follower, seed: number): Promise<void> {
  const id = 'c0'
  const bundle = await daemon.bundle('trap', trap(6), (config) => config.process.env.push(`${marker}=${seed}`))
  const ask = async (verb: string, method: string, path: string, body?: unknown): Promise<Operation['answer']> => {
    for (let tries = 0; tries < 5; tries++) {
      const operation: Operation = { verb, id }
      operations.push(operation)
      try {
        const { status, body: answer } = await daemon.request(method, path, body)
        operation.answer = { status, body: answer }
        return operation.answer
      } catch {
        // It died at its step; the next one has none.
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

/** A running container over a daemon that dies while it takes it up. */
async function takeUp (daemon: Daemon, operations: Operation[], faults: Fault[], follower: Follower, seed: number, step: Step): Promise<void> {
  await follower.connect(daemon)
  const bundle = await daemon.bundle('other', trap(6), (config) => config.process.env.push(`${marker}=${seed}`))
  await daemon.post('/containers', { id: 'c1', bundle })
  await daemon.stop('SIGKILL')
  const died = await daemon.launch([], { LONGSHORE_FAILPOINT: step }).then(() => false, () => true)
  await daemon.stop('SIGKILL')
  if (died) faults.push({ kind: 'daemon' })
  await daemon.launch()
  await follower.connect(daemon)
  const { status, body } = await daemon.get('/containers/c1')
  operations.push({ verb: 'get', id: 'c1', answer: { status, body } })
  await daemon.delete('/containers/c1?force=true')
  operations.push({ verb: 'delete', id: 'c1' })
}

export async function failpointRun (step: Step, seed: number, program?: string): Promise<FailpointReport> {
  const daemon = await Daemon.prepare()
  if (program !== undefined) daemon.program = program
  const operations: Operation[] = []
  const faults: Fault[] = []
  const follower = new Follower()
  try {
    if (step.startsWith('restore.')) {
      await daemon.launch()
      await takeUp(daemon, operations, faults, follower, seed, step)
    } else {
      await daemon.launch([], { LONGSHORE_FAILPOINT: step })
      await follower.connect(daemon)
      await live(daemon, operations, faults, follower, seed)
    }
    const journal = await wholeJournal(daemon)
    const last = journal.at(-1)
    if (last !== undefined) await follower.reach(last.id)
    follower.close()
    const verdict = check({ journal, readers: [follower.seen], operations, faults, ownStatus: () => 6, leftovers: await leftBehind(daemon, seed) })
    const story = `${journal.map(({ type, runId }) => `${type}(${runId ?? ''})`).join(' ')}\n${operations.map(({ verb, answer }) => `${verb} ${answer?.status ?? '-'} ${answer?.body?.code ?? ''}`).join(', ')}\n${daemon.output.slice(-3000)}`
    return { verdict, deaths: faults.length, story }
  } finally {
    await daemon.destroy()
  }
}
