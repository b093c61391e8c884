import t from 'tap'
import { join } from 'node:path'
import type { EventView } from '../../src/schemas/index.ts'
import { project } from '../support/daemon.ts'
import { chaos } from './chaos.ts'
import { check, type History, type Verdict } from './checker.ts'
import { bugs } from './known-bugs.ts'
import { putIn } from './mutant.ts'

const exit = { status: 7, signal: null, oomKilled: false, reason: 'exited' as const, exitedAt: '2026-01-01T00:00:00.000000000Z', outputComplete: true }
const event = (n: number, type: EventView['type'], more: object = {}): EventView =>
  ({ id: `e:${n}`, type, timestamp: exit.exitedAt, containerId: 'c1', runId: 'r1', processId: 'init', labels: {}, ...more })
const life = (): EventView[] => [event(1, 'StateCreate'), event(2, 'StateStart'), event(3, 'StateExit', { exit }), event(4, 'StateDelete')]
const history = (change: (history: History) => void): History => {
  const made: History = { journal: life(), readers: [life()], operations: [], faults: [], ownStatus: () => 7, leftovers: [] }
  change(made)
  return made
}

t.test('the known mistakes can still be put in (make chaos-bugs)', async (t) => {
  for (const { name, changes } of bugs) await t.resolves(putIn(name, join(project, 'src'), changes, async () => {}), name)
})

t.test('the checker finds nothing in a true history, and what is wrong in others', async (t) => {
  const none: Verdict = { lost: [], duplicate: [], invented: [], disordered: [], leaked: [] }
  t.same(check(history(() => {})), none)
  const wrong: [keyof Verdict, string, (made: History) => void][] = [
    ['lost', 'an event that the journal lacks', ({ journal }) => journal.splice(1, 1)],
    ['lost', 'an event that a reader never saw', ({ readers }) => readers[0]?.splice(1, 1)],
    ['lost', 'an exit', (made) => { made.journal = made.journal.slice(0, 2); made.readers = [] }],
    ['lost', 'a create that was answered', ({ operations }) => operations.push({ verb: 'create', id: 'c2', answer: { status: 201, body: { runId: 'r2', status: 'running' } } })],
    ['lost', 'a delete that was answered', ({ operations }) => { for (let n = 0; n < 2; n++) operations.push({ verb: 'delete', id: 'c1', answer: { status: 204, body: undefined } }) }],
    ['duplicate', 'an event that a reader saw twice', ({ readers }) => readers[0]?.push(event(4, 'StateDelete'))],
    ['duplicate', 'a second exit', ({ journal }) => { journal[3] = event(4, 'StateExit', { exit }) }],
    ['invented', 'an exit status that cannot be', ({ journal }) => { journal[2] = event(3, 'StateExit', { exit: { ...exit, status: 9 } }) }],
    ['invented', 'a signal that nobody sent', ({ journal }) => { journal[2] = event(3, 'StateExit', { exit: { ...exit, status: 137, signal: 'SIGKILL', reason: 'signaled' } }) }],
    ['invented', 'a lost monitor that was not lost', ({ journal }) => { journal[2] = event(3, 'StateExit', { exit: { ...exit, status: null, reason: 'monitor-lost' } }) }],
    ['invented', 'an answer with an exit that no event has', ({ operations }) => operations.push({ verb: 'wait', id: 'c1', answer: { status: 200, body: { ...exit, status: 8 } } })],
    ['invented', 'an event that only a reader saw', ({ readers }) => readers[0]?.push(event(5, 'StateOOM'))],
    ['lost', 'an OOM kill that was not told', ({ journal }) => { journal[2] = event(3, 'StateExit', { exit: { ...exit, oomKilled: true } }) }],
    ['lost', 'the exit of an exec', ({ journal }) => { journal[3] = event(4, 'StateStartProcess', { processId: 'x1' }) }],
    ['invented', 'an answer of 500', ({ operations }) => operations.push({ verb: 'get', id: 'c1', answer: { status: 500, body: {} } })],
    ['invented', 'a view of an event that is not there', ({ operations }) => operations.push({ verb: 'get', id: 'c1', answer: { status: 200, body: { id: 'c1', status: 'running', lastEventId: 'e:9' } } })],
    ['disordered', 'a view that does not belong to its event', ({ operations }) => operations.push({ verb: 'get', id: 'c1', answer: { status: 200, body: { id: 'c1', status: 'running', lastEventId: 'e:1' } } })],
    ['disordered', 'an exec that ends after init', ({ journal }) => { journal.splice(2, 2, event(3, 'StateStartProcess', { processId: 'x1' }), event(4, 'StateExit', { exit }), event(5, 'StateExit', { processId: 'x1', exit })) }],
    ['disordered', 'an exit before the start', ({ journal }) => { journal[1] = event(2, 'StateExit', { exit }); journal[2] = event(3, 'StateStart') }],
    ['leaked', 'a process that is left', ({ leftovers }) => leftovers.push('process 1')]
  ]
  for (const [kind, name, change] of wrong) t.not(check(history(change))[kind].length, 0, name)
})

t.test('a daemon that is killed again and again loses, repeats, invents and leaves nothing', { timeout: 400_000 }, async (t) => {
  const report = await chaos({ seed: 20, kills: 6, containers: 18, clients: 4 })
  const { verdict, output, ...figures } = report
  t.comment(JSON.stringify(figures))
  t.ok(figures.events > 20 && figures.runs > 5, 'something went on meanwhile')
  for (const [what, list] of Object.entries(verdict)) t.same(list, [], what)
  if (!t.passing()) t.comment(output.slice(-5000))
})
