/** What can be asked of the journal. */
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import type { Entry } from '../../src/events/entry.ts'
import { Filter } from '../../src/events/filter.ts'
import { Journal } from '../../src/events/journal.ts'
import { event, exit, fill, openJournal, options, range, temporary } from './support.ts'

t.setTimeout(600_000)

t.test('an exit is asked for by run or by container, and what was told of a run in order', async (t) => {
  const journal = await openJournal(t)
  const row = (runId: string, status: number) => ({ runId, processId: 'init', containerId: 'web', exit: { ...exit, status } })
  for (const [runId, status] of [['r1', 1], ['r2', 2]] as const) {
    await journal.append(event({ type: 'StateStart', runId, processId: 'init' }))
    await journal.append(event({ type: 'StateExit', runId, processId: 'init' }), undefined, row(runId, status))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await journal.append(event({ type: 'StateDelete', runId: 'r2' }))
  t.same(await journal.exitOf({ containerId: 'web', processId: 'init' }), row('r2', 2), 'of the last run')
  t.same(await journal.exitOf({ containerId: 'web', runId: 'r1', processId: 'init' }), row('r1', 1))
  t.equal(await journal.exitOf({ containerId: 'db', runId: 'r1', processId: 'init' }), undefined, 'not under another name')
  t.equal(await journal.exitOf({ containerId: 'web', processId: 'exec' }), undefined)
  t.match(await journal.eventsOfRun('r2'), [{ type: 'StateStart', processId: 'init' }, { type: 'StateExit', processId: 'init' }, { type: 'StateDelete' }])
  t.equal(await journal.knows('web'), true)
  t.equal(await journal.knows('db'), false)
})

t.test('the position of a time', async (t) => {
  const settings = options(await temporary(t))
  const journal = await Journal.open(settings)
  await fill(journal, 100)
  await journal.close()
  const db = new DatabaseSync(settings.path)
  db.exec('UPDATE events SET time = seq / 2 * 1000')
  db.close()
  const after = await Journal.open({ ...settings, retainDays: 100_000 })
  t.equal(await after.before(0), 0)
  t.equal(await after.before(1000), 1, 'at the time itself')
  t.equal(await after.before(1001), 3)
  t.equal(await after.before(49_000), 97)
  t.equal(await after.before(1e15), 100)
  await after.close()
})

t.test('pages are bounded in bytes, and appends do not wait behind many of them', async (t) => {
  const journal = await openJournal(t)
  await fill(journal, 3000, () => event({ labels: { big: 'x'.repeat(2000) } }))
  const { entries, reached } = await journal.read({ after: 0 })
  t.ok(entries.length < 50, `${entries.length} events in a page`)
  t.equal(reached, entries.at(-1)?.seq)
  let pages = 0
  const reads = range(1, 300).map(async () => {
    await journal.read({ after: 500 })
    pages++
  })
  await journal.append(event())
  t.ok(pages < 50, `the append was done after ${pages} of 300 pages`)
  await Promise.all(reads)
})

t.test('reasons of exits, in the thread and in memory', async (t) => {
  const journal = await openJournal(t)
  const told: Entry[] = []
  journal.onCommitted = (entries) => { told.push(...entries) }
  await journal.append(event({ type: 'StateExit', runId: 'a', processId: 'init', exit }))
  await journal.append(event({ type: 'StateExit', runId: 'b', processId: 'init', exit: { ...exit, reason: 'oom' } }))
  await journal.append(event({ labels: { text: '"exit":{"reason":"oom"}' } }))
  const { query } = new Filter({ reason: ['oom'] })
  t.same((await journal.read({ after: 0, filter: query })).entries.map(({ seq }) => seq), [2])
  t.same(told.map((entry) => new Filter({ reason: ['oom', 'signaled'] }).matches(entry)), [exit.reason === 'signaled', true, false])
  t.throws(() => new Filter({ reason: ['boredom'] }), { code: 'bad_request', message: /^reason "boredom" must be one of exited/ })
})

t.test('reading through a filter, in the thread', async (t) => {
  const journal = await openJournal(t)
  await fill(journal, 9000, (n) => event({ containerId: `c${n % 3}`, type: n % 2 === 0 ? 'StateUpdate' : 'StateOOM', labels: n % 1000 === 0 ? { app: 'web', rare: '1' } : { app: 'db' } }))
  const collect = async (filter: object): Promise<number[]> => {
    const seqs: number[] = []
    for (let after = 0; after < journal.head;) {
      const page = await journal.read({ after, filter })
      seqs.push(...page.entries.map(({ seq }) => seq))
      t.ok(page.reached > after)
      after = page.reached
    }
    return seqs
  }
  const all = range(1, 9000)
  t.same(await collect({ containers: ['c1'] }), all.filter((seq) => (seq - 1) % 3 === 1))
  t.same(await collect({ containers: ['c1', 'c2', 'none'] }), all.filter((seq) => (seq - 1) % 3 !== 0))
  t.same(await collect({ containers: ['c1'], types: ['StateOOM'] }), all.filter((seq) => (seq - 1) % 3 === 1 && seq % 2 === 0))
  t.same(await collect({ labels: [{ key: 'rare' }] }), all.filter((seq) => (seq - 1) % 1000 === 0))
  t.same(await collect({ labels: [{ key: 'app', value: 'web' }], containers: ['c0'] }), all.filter((seq) => (seq - 1) % 3000 === 0))
  t.same(await collect({ types: ['StateDelete'] }), [])
})
