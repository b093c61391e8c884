/** What drops events and exits: the bounds, and nothing else. */
import { stat } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { Journal } from '../../src/events/journal.ts'
import { event, exit, fill, options, readAll, temporary, until } from './support.ts'

t.setTimeout(600_000)

t.test('retention by count, age and size, exits by their own rule', async (t) => {
  const settings = options(await temporary(t))
  const journal = await Journal.open(settings)
  const row = { runId: 'r', processId: 'init', containerId: 'web', exit }
  await journal.append(event({ type: 'StateExit', runId: 'r', processId: 'init' }), undefined, row)
  await fill(journal, 1999)
  await journal.close()

  const few = await Journal.open({ ...settings, retainEvents: 300 })
  await until(() => few.first === 1701, 'chunk after chunk is gone')
  t.equal((await readAll(few)).length, 300)
  t.match(few.locate(`${few.epoch}:5`), { after: 1700, gap: { reason: 'retention', lost: 1695, firstAvailable: `${few.epoch}:1701` } })
  t.same(few.locate(`${few.epoch}:1700`), { after: 1700 }, 'strictly after the last one that went is no gap')
  t.same(await few.exitOf({ containerId: 'web', processId: 'init' }), row, 'the exit outlives its event')
  await few.close()

  const db = new DatabaseSync(settings.path)
  db.exec(`UPDATE events SET time = ${Date.now() - 3 * 24 * 3600 * 1000} WHERE seq <= 1900`)
  db.close()
  const young = await Journal.open({ ...settings, retainDays: 2 })
  await until(() => young.first === 1901)
  t.equal((await readAll(young)).length, 100)
  await young.close()

  const wide = await Journal.open(settings)
  await fill(wide, 2000, () => event({ labels: { text: 'x'.repeat(400) } }))
  await wide.close()
  const small = await Journal.open({ ...settings, retainBytes: 1_500_000 })
  await until(() => small.first > 1901 && small.bytes > 0 && small.bytes <= 1_500_000, 'the size is kept')
  t.ok(small.head - small.first >= 499, 'no more went than had to')
  t.ok((await stat(settings.path)).size < 2_500_000, 'the file gives the space back')
  t.equal((await readAll(small)).length, small.head - small.first + 1)
  const { first } = small
  await fill(small, 10_100)
  await until(() => small.first > first && small.bytes <= 1_500_000, 'without a timer, when much was written')
  const { head } = small
  await small.close()

  const none = await Journal.open({ ...settings, retainDays: 0 })
  await until(() => none.first === head + 1)
  t.equal(none.head, head)
  await none.close()
  const empty = await Journal.open(settings)
  t.same([empty.first, empty.head], [head + 1, head], 'numbers go on when no event is left')
  t.equal(await empty.append(event()), `${empty.epoch}:${head + 1}`)
  await empty.close()
})

t.test('an exit is kept while its container is there, and a week after it went', async (t) => {
  const settings = options(await temporary(t))
  const week = 7 * 24 * 3600 * 1000
  const journal = await Journal.open(settings)
  const row = (containerId: string) => ({ runId: `run-of-${containerId}`, processId: 'init', containerId, exit })
  for (const containerId of ['stays', 'gone', 'restarted', 'went']) {
    await journal.append(event({ containerId, type: 'StateExit', runId: `run-of-${containerId}`, processId: 'init' }), undefined, row(containerId))
  }
  for (const containerId of ['gone', 'went']) await journal.append(event({ containerId, type: 'StateDelete', runId: `run-of-${containerId}` }))
  await journal.append(event({ containerId: 'restarted', type: 'StateStart', runId: 'second', processId: 'init' }))
  await journal.close()
  const db = new DatabaseSync(settings.path)
  db.exec(`UPDATE exits SET time = time - ${10 * week}`)
  db.exec(`UPDATE exits SET gone_at = gone_at - ${week} - 1000 WHERE container_id IN ('gone', 'restarted')`)
  db.close()
  const after = await Journal.open(settings)
  const known = async (containerId: string): Promise<boolean> => await after.exitOf({ containerId, processId: 'init' }) !== undefined
  await until(async () => !await known('gone'))
  t.same([await known('stays'), await known('went'), await known('restarted')], [true, true, false])
  await after.close()
})
