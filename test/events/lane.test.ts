/** Events that are told ahead of the database, out of a file that the kernel keeps. */
import { copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { Journal } from '../../src/events/journal.ts'
import type { ExitView } from '../../src/schemas/index.ts'
import { event, fill, options, range, readAll, temporary, turn, until } from './support.ts'

t.setTimeout(600_000)

const exit: ExitView = { status: 0, signal: null, oomKilled: false, reason: 'exited', exitedAt: '2026-11-24T00:00:00.000000001Z', outputComplete: true }

const stored = (path: string): number => {
  const db = new DatabaseSync(path, { readOnly: true })
  const { count } = db.prepare('SELECT count(*) AS count FROM events').get() as { count: number }
  db.close()
  return count
}

/** What a daemon that was killed now would leave. */
async function leave (from: string, to: string): Promise<void> {
  for (const name of ['journal.db', 'journal.db-wal', 'journal.lane']) await copyFile(join(from, name), join(to, name))
}

const laned = (directory: string): ReturnType<typeof options> => options(directory, { lane: join(directory, 'journal.lane') })

t.test('told in the turn of its append, in the database soon after; questions are answered with it', async (t) => {
  const directory = await temporary(t)
  const journal = await Journal.open(laned(directory))
  const told: number[] = []
  journal.onCommitted = (entries) => { told.push(...entries.map(({ seq }) => seq)) }
  await fill(journal, 1)
  void journal.append(event())
  void journal.append(event())
  await Promise.resolve().then(() => {}).then(() => {})
  t.same(told, [1, 2, 3], 'before any other turn')
  t.equal(journal.head, 3)
  t.equal((await readAll(journal)).length, 3, 'a page has them')
  await until(() => stored(journal.options.path) === 3)
  t.equal((await stat(join(directory, 'journal.lane'))).mode & 0o777, 0o600)
  // More than the lane holds, and longer than it.
  await fill(journal, 5000, () => event({ labels: { text: 'z'.repeat(600) } }))
  t.same((await readAll(journal)).map(({ id }) => Number(id.split(':')[1])), range(1, 5003))
  await journal.close()
  const again = await Journal.open(laned(directory))
  t.equal(again.head, 5003)
  t.equal(again.epoch, journal.epoch)
  await again.close()
})

t.test('what was told and not yet in the database is there after a death of the daemon, under its id; a torn end is not taken', async (t) => {
  const [directory, copy, torn] = [await temporary(t), await temporary(t), await temporary(t)]
  const journal = await Journal.open(laned(directory))
  await fill(journal, 10)
  await until(() => stored(journal.options.path) === 10)
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  // Nothing reaches the database now; all of it is told.
  const ids = await fill(journal, 30)
  t.equal(journal.head, 40)
  await leave(directory, copy)
  await leave(directory, torn)
  blocker.exec('ROLLBACK')
  blocker.close()
  const { epoch } = journal
  await journal.close()

  t.equal(stored(join(copy, 'journal.db')), 10)
  const next = await Journal.open(laned(copy))
  t.same([next.epoch, next.head], [epoch, 40])
  t.same((await readAll(next)).slice(10).map(({ id }) => id), ids)
  t.equal(await next.append(event()), `${epoch}:41`)
  await next.close()

  const lane = await readFile(join(torn, 'journal.lane'))
  const at = lane.lastIndexOf(Buffer.from('"seq":40,'))
  lane.writeUInt8(lane.readUInt8(at + 20) ^ 1, at + 20)
  await writeFile(join(torn, 'journal.lane'), lane)
  const short = await Journal.open(laned(torn))
  t.same([short.epoch, short.head], [epoch, 39])
  await short.close()
})

t.test('a lane that has gone, or another one in its place: a new epoch, so that no id is given twice; not after an orderly end', async (t) => {
  const [directory, copy, other] = [await temporary(t), await temporary(t), await temporary(t)]
  const journal = await Journal.open(laned(directory))
  await fill(journal, 5)
  await until(() => stored(journal.options.path) === 5)
  await leave(directory, copy)
  await leave(directory, other)
  await journal.close()
  await rm(join(copy, 'journal.lane'))
  const renewed = await Journal.open(laned(copy))
  t.not(renewed.epoch, journal.epoch)
  t.match(renewed.locate(`${journal.epoch}:7`), { gap: { reason: 'epoch', lost: null } }, 'who saw more is told')
  t.equal(await renewed.append(event()), `${renewed.epoch}:6`)
  await renewed.close()
  const without = await Journal.open(options(other))
  t.not(without.epoch, journal.epoch, 'none at all counts too')
  await without.close()
  await rm(join(directory, 'journal.lane'))
  const same = await Journal.open(laned(directory))
  t.equal(same.epoch, journal.epoch)
  await same.close()
})

t.test('what a run may tell once is told once, whichever way; a run that is not known goes the longer one', async (t) => {
  const directory = await temporary(t)
  const told = (type: 'StateCreate' | 'StateStart' | 'StateExit', runId: string): Parameters<Journal['append']> => [
    event({ type, runId, processId: 'init', ...(type === 'StateExit' ? { exit } : {}) }), undefined,
    type === 'StateExit' ? { runId, processId: 'init', containerId: 'web', exit } : undefined
  ]
  const journal = await Journal.open(laned(directory))
  for (const type of ['StateCreate', 'StateStart', 'StateExit'] as const) await journal.append(...told(type, 'one'))
  const before = journal.head
  for (const type of ['StateCreate', 'StateStart', 'StateExit'] as const) await t.rejects(journal.append(...told(type, 'one')), /refused/)
  t.equal(journal.head, before)
  await journal.append(...told('StateCreate', 'two'))
  const both = await Promise.allSettled([journal.append(...told('StateExit', 'two')), journal.append(...told('StateExit', 'two'))])
  t.same(both.map(({ status }) => status), ['fulfilled', 'rejected'], 'in one turn')
  t.same(await journal.exitOf({ containerId: 'web', runId: 'two', processId: 'init' }), { runId: 'two', processId: 'init', containerId: 'web', exit })
  await journal.append(...told('StateCreate', 'three'))
  await journal.close()
  const next = await Journal.open(laned(directory))
  await t.rejects(next.append(...told('StateExit', 'two')), /refused/)
  t.same((await next.eventsOfRun('three')).map(({ type }) => type), ['StateCreate'])
  await next.append(...told('StateExit', 'three'))
  await t.rejects(next.append(...told('StateExit', 'three')), /refused/)
  await next.close()
})

t.test('while the database cannot be written, the exit that was told is still the answer; later it is there', async (t) => {
  const directory = await temporary(t)
  const journal = await Journal.open(laned(directory))
  await journal.append(event({ type: 'StateCreate', runId: 'r' }))
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  const row = { runId: 'r', processId: 'init', containerId: 'web', exit }
  await journal.append(event({ type: 'StateExit', runId: 'r', processId: 'init', exit }), undefined, row)
  t.same(await journal.exitOf({ containerId: 'web', processId: 'init' }), row)
  await until(() => !journal.writable)
  const waiting = journal.append(event())
  await turn()
  t.equal(journal.head, 2, 'from now on nobody is told before it is written')
  blocker.exec('ROLLBACK')
  blocker.close()
  await waiting
  t.equal(journal.head, 3)
  t.equal(stored(journal.options.path), 3)
  await journal.close()
})

t.test('while the database cannot be written, questions are answered without waiting for it, from what is told and what is there', async (t) => {
  const journal = await Journal.open(laned(await temporary(t)))
  await journal.append(event({ type: 'StateCreate', runId: 'r' }))
  await until(() => stored(journal.options.path) === 1)
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  const id = await journal.append(event({ type: 'StateHealth', runId: 'r' }))
  await until(() => !journal.writable)
  const begin = performance.now()
  const after = `${journal.epoch}:0`
  t.equal(await journal.tells({ after, containerId: 'web', type: 'StateHealth' }), true)
  t.equal(await journal.tells({ after: id, containerId: 'web', type: 'StateHealth' }), false)
  t.equal(await journal.tells({ after, containerId: 'web', type: 'StateUpdate' }), false)
  t.same((await journal.eventsOfRun('r')).map(({ type }) => type), ['StateCreate', 'StateHealth'])
  for (let reads = 0; reads < 25; reads++) t.equal((await journal.read({ after: 0 })).reached, 1)
  t.ok(performance.now() - begin < 5000, 'as long as it takes to ask')
  blocker.exec('ROLLBACK')
  blocker.close()
  await journal.close()
})

t.test('what is recovered into a database from which all events have gone can be read', async (t) => {
  const [directory, copy] = [await temporary(t), await temporary(t)]
  const journal = await Journal.open(laned(directory))
  await fill(journal, 10)
  await until(() => stored(journal.options.path) === 10)
  const trimmed = new DatabaseSync(journal.options.path)
  trimmed.exec("INSERT OR REPLACE INTO meta VALUES ('head', '10'); DELETE FROM events; BEGIN IMMEDIATE")
  await fill(journal, 5)
  await leave(directory, copy)
  trimmed.exec('ROLLBACK')
  trimmed.close()
  await journal.close()
  const next = await Journal.open(laned(copy))
  t.same([next.first, next.head], [11, 15])
  t.same((await readAll(next)).map(({ id }) => Number(id.split(':')[1])), range(11, 15))
  await next.close()
})

t.test('the next exit is found whether or not the database has it, or the one before it', async (t) => {
  const journal = await Journal.open(laned(await temporary(t)))
  const row = (runId: string, containerId = 'web', processId = 'init') => ({ runId, processId, containerId, exit })
  const tell = async (runId: string, containerId?: string, processId?: string): Promise<string> => await journal.append(event({ type: 'StateExit', runId, processId: processId ?? 'init', containerId: containerId ?? 'web' }), undefined, row(runId, containerId, processId))
  const next = async (runId: string): Promise<string | undefined> => (await journal.exitAfter({ containerId: 'web', runId, processId: 'init' }))?.runId
  for (const runId of ['a', 'b', 'c', 'd', 'e']) await journal.append(event({ type: 'StateCreate', runId }))
  await tell('a')
  t.equal(await next('a'), undefined)
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  for (const [runId, containerId, processId] of [['b'], ['b', 'web', 'exec'], ['c', 'db'], ['d']] as [string, string?, string?][]) {
    await tell(runId, containerId, processId)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  t.equal(stored(journal.options.path), 6, 'none of them is in the database')
  t.same(await Promise.all(['a', 'b', 'd', 'none'].map(next)), ['b', 'd', undefined, undefined])
  t.same(await journal.exitAfter({ containerId: 'web', runId: 'a', processId: 'init' }), row('b'))
  blocker.exec('ROLLBACK')
  blocker.close()
  await tell('e')
  t.same([await next('a'), await next('b'), await next('d'), await next('e')], ['b', 'd', 'e', undefined])
  await until(() => stored(journal.options.path) === 11)
  t.same([await next('a'), await next('b'), await next('d'), await next('e')], ['b', 'd', 'e', undefined])
  await journal.close()
})
