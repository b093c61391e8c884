import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, open, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import type { ExitView } from '../../src/schemas/index.ts'
import type { Entry } from '../../src/events/entry.ts'
import { Filter } from '../../src/events/filter.ts'
import { Journal } from '../../src/events/journal.ts'
import { TestLog, event, fill, openJournal, options, range, readAll, temporary, turn, until } from './support.ts'

// Five processes are killed in here, and the machine may be busy.
t.setTimeout(600_000)

const exit: ExitView = { status: 143, signal: 'SIGTERM', oomKilled: false, reason: 'signaled', exitedAt: '2026-11-24T00:00:00.000000001Z', outputComplete: true }

t.test('numbers are given in the order of the appends, without holes, and go on over restarts', async (t) => {
  const settings = options(await temporary(t))
  const ids: string[] = []
  let epoch = ''
  for (const round of range(1, 3)) {
    const journal = await Journal.open(settings)
    if (round === 1) ({ epoch } = journal)
    t.equal(journal.epoch, epoch, 'the epoch stays')
    t.equal(journal.head, ids.length)
    ids.push(...await fill(journal, 50))
    await turn()
    ids.push(await journal.append(event()))
    t.equal(journal.head, ids.length)
    await journal.close()
  }
  t.same(ids, range(1, 153).map((n) => `${epoch}:${n}`))
  const journal = await Journal.open(settings)
  t.same((await readAll(journal)).map(({ id }) => id), ids, 'all of them are there')
  await journal.close()
})

t.test('an event comes back as it was appended, with its id first and a time in nanoseconds', async (t) => {
  const journal = await openJournal(t)
  const given = event({ type: 'StateExit', runId: 'r', processId: 'init', pid: 7, exit, labels: { 'a\n"b': '\u2028\ud800\u0000' }, requestId: 'q' })
  const id = await journal.append(given)
  const { entries: [entry], reached } = await journal.read({ after: 0 })
  t.match(entry?.json, /^\{"id":"[0-9a-f]{8}:1","type":"StateExit",/)
  const read = JSON.parse(entry?.json ?? '')
  t.match(read.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
  t.same(read, { id, ...given, timestamp: read.timestamp })
  t.equal(reached, 1)
})

t.test('appends of one turn share a commit; those that come while it is under way share the next', async (t) => {
  const journal = await openJournal(t)
  const batches: number[][] = []
  journal.onCommitted = (entries) => batches.push(entries.map(({ seq }) => seq))
  const first = fill(journal, 3)
  await turn()
  const second = [journal.append(event()), journal.append(event())]
  await turn()
  second.push(journal.append(event()))
  await Promise.all([first, ...second])
  t.same(batches[0], [1, 2, 3])
  t.same(batches.flat(), range(1, 6))
  t.ok(batches.length <= 3)
})

t.test('state and stream change in one turn, in order, and only when the event is on disk', async (t) => {
  const journal = await openJournal(t)
  const seen: string[] = []
  const other = new DatabaseSync(journal.options.path, { readOnly: true })
  t.teardown(() => other.close())
  journal.onCommitted = (entries) => {
    seen.push(`told ${entries.map(({ seq }) => seq).join()}`)
    t.equal((other.prepare('SELECT count(*) AS n FROM events').get() as { n: number }).n, 2, 'another reader of the file finds them')
    queueMicrotask(() => seen.push('later'))
  }
  const changed = (name: string) => (id: string): void => {
    t.equal(journal.head, 2, 'the head is that of the batch')
    seen.push(`${name} ${id.split(':')[1]}`)
  }
  await Promise.all([
    journal.append(event(), changed('a')).then(() => seen.push('resolved')),
    journal.append(event(), (id) => { changed('b')(id); throw new Error('a mistake of the state') })
  ])
  t.same(seen, ['a 1', 'b 2', 'told 1,2', 'later', 'resolved'])
  t.match((journal.options.log as TestLog).lines, [{ level: 'error', message: 'the state could not follow an event' }])
})

t.test('no second exit, start, create or delete of a run; its neighbours keep a sequence without a hole', async (t) => {
  const journal = await openJournal(t)
  const row = { runId: 'r1', processId: 'init', containerId: 'web', exit }
  const init = { runId: 'r1', processId: 'init' }
  await journal.append(event({ type: 'StateCreate', runId: 'r1' }))
  await journal.append(event({ type: 'StateStart', ...init }))
  await journal.append(event({ type: 'StateExit', ...init, exit }), undefined, row)
  await journal.append(event({ type: 'StateDelete', runId: 'r1' }))
  let called = false
  const refused = [
    journal.append(event({ type: 'StateExit', ...init }), () => { called = true }),
    journal.append(event({ type: 'StateStart', ...init })),
    journal.append(event({ type: 'StateCreate', runId: 'r1' })),
    journal.append(event({ type: 'StateDelete', runId: 'r1' })),
    journal.append(event(), undefined, { ...row, exit: { ...exit, status: 0 } })
  ]
  const [before, ...others] = [
    journal.append(event()),
    ...refused.map(async (promise) => await t.rejects(promise, { message: /^the journal refused the event/ })),
    journal.append(event({ type: 'StateExit', runId: 'r1', processId: 'exec-1' })),
    journal.append(event({ type: 'StateStart', runId: 'r2', processId: 'init' }))
  ]
  await Promise.all([before, ...others])
  t.notOk(called, 'nobody is told of a refused one')
  const events = await readAll(journal)
  t.same(events.map(({ id }) => Number(id.split(':')[1])), range(1, 7))
  t.same(events.slice(4).map(({ type }) => type), ['StateUpdate', 'StateExit', 'StateStart'])
  t.same(await journal.exitOf({ containerId: 'web', processId: 'init' }), row, 'the first exit stands')
})

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

t.test('a commit that fails is tried again as it was: nobody is told meanwhile, and what comes meanwhile waits', async (t) => {
  const journal = await openJournal(t)
  await fill(journal, 2)
  const told: number[] = []
  journal.onCommitted = (entries) => told.push(...entries.map(({ seq }) => seq))
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  const callbacks: string[] = []
  const waiting = range(1, 3).map(async (n) => await journal.append(event(), () => callbacks.push(`early ${n}`)))
  await until(() => !journal.writable, 'the journal noticed')
  waiting.push(...range(1, 3).map(async (n) => await journal.append(event(), () => callbacks.push(`late ${n}`))))
  await new Promise((resolve) => setTimeout(resolve, 400))
  t.same([told, callbacks, journal.head], [[], [], 2])
  blocker.exec('ROLLBACK')
  blocker.close()
  t.same((await Promise.all(waiting)).map((id) => Number(id.split(':')[1])), range(3, 8))
  t.same(told, range(3, 8))
  t.same(callbacks, ['early 1', 'early 2', 'early 3', 'late 1', 'late 2', 'late 3'])
  t.ok(journal.writable)
  t.equal((await readAll(journal)).length, 8)
  t.same((journal.options.log as TestLog).lines.map(({ level }) => level), ['error', 'warn'], 'said once, not at every try')
})

t.test('closing writes what was appended, and refuses what comes after it', async (t) => {
  const settings = options(await temporary(t))
  const journal = await Journal.open(settings)
  const appended = fill(journal, 5)
  await journal.close()
  t.equal((await appended).length, 5)
  await t.rejects(journal.append(event()), { message: 'the journal is closed' })
  const again = await Journal.open(settings)
  t.equal(again.head, 5)
  await again.close()
})

t.test('a journal that cannot be written can still be closed', async (t) => {
  const journal = await Journal.open(options(await temporary(t)))
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  const lost = t.rejects(journal.append(event()), { message: 'the journal was closed before it could be written' })
  await until(() => !journal.writable)
  await journal.close()
  await lost
  blocker.close()
})

t.test('the thread of the journal dies in mid-write: another takes over, nothing is lost or written twice', async (t) => {
  const threads: Worker[] = []
  const note = (worker: Worker): void => { threads.push(worker) }
  process.on('worker', note)
  t.teardown(() => process.removeListener('worker', note))
  const journal = await openJournal(t)
  const { epoch } = journal
  const told: number[] = []
  journal.onCommitted = (entries) => told.push(...entries.map(({ seq }) => seq))
  const ids: Promise<string>[] = []
  for (const n of range(1, 200)) {
    ids.push(journal.append(event()))
    if (n === 100) void threads.at(-1)?.terminate()
    if (n % 10 === 0) await turn()
  }
  const all = range(1, 200)
  t.same((await Promise.all(ids)), all.map((seq) => `${epoch}:${seq}`))
  t.same(told, all)
  t.same((await readAll(journal)).map(({ id }) => id), all.map((seq) => `${epoch}:${seq}`))
  t.equal(threads.length, 2)
  t.ok(journal.writable)
})

t.test('kill -9 in mid-append: every event that was told is there, once, under its id, and numbers go on behind it', async (t) => {
  const directory = await temporary(t)
  const path = join(directory, 'journal.db')
  const told = new Map<string, string>()
  const epochs = new Set<string>()
  for (const round of range(1, 5)) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'fixtures/appender.ts'), path, `round${round}`], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text })
    await until(() => output.split('\n').length > 300, 'the child appends')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 50))
    child.kill('SIGKILL')
    await once(child, 'close')
    const [opened = '', ...lines] = output.split('\n').slice(0, -1)
    epochs.add(opened.split(' ')[1] ?? '')
    for (const line of lines) {
      const [id = '', task = ''] = line.split(' ')
      if (told.has(id)) t.fail(`${id} was given twice`)
      told.set(id, task)
    }
  }
  t.equal(epochs.size, 1, 'one history')
  const journal = await Journal.open({ ...options(directory), path })
  const events = await readAll(journal)
  t.same(events.map(({ id }) => Number(id.split(':')[1])), range(1, journal.head), 'no hole')
  const kept = new Map(events.map(({ id, taskId }) => [id, taskId]))
  t.same([...told].filter(([id, task]) => kept.get(id) !== task), [], `none of the ${told.size} told is missing or another`)
  t.equal(new Set(kept.values()).size, events.length, 'none is there twice')
  const exits = events.filter(({ type }) => type === 'StateExit')
  const rows = await Promise.all(exits.map(async ({ runId }) => await journal.exitOf({ containerId: 'web', runId, processId: 'init' })))
  t.notOk(rows.includes(undefined), 'an exit event has its exit')
  await journal.close()
})

t.test('after a power cut a new epoch begins, old events keep their ids, and readers of the old epoch are told', async (t) => {
  const directory = await temporary(t)
  const settings = options(directory)
  const journal = await Journal.open(settings)
  const old = journal.epoch
  await fill(journal, 10)
  // What a power cut leaves: some earlier state of the files.
  const cut = join(directory, 'cut')
  await mkdir(cut)
  for (const name of await readdir(directory)) if (name.startsWith('journal.db')) await copyFile(join(directory, name), join(cut, name))
  await fill(journal, 5)
  await journal.close()

  const log = new TestLog()
  const after = await Journal.open({ ...settings, path: join(cut, 'journal.db'), bootId: 'boot-2', log })
  t.not(after.epoch, old)
  t.match(log.lines, [{ level: 'warn', message: /the machine went down/ }])
  t.equal(await after.append(event()), `${after.epoch}:11`, 'the number comes back under another epoch')
  t.same((await readAll(after)).map(({ id }) => id), [...range(1, 10).map((n) => `${old}:${n}`), `${after.epoch}:11`])
  const gap = { requested: `${old}:14`, firstAvailable: `${after.epoch}:11`, lost: null, reason: 'epoch' } as const
  t.same(after.locate(`${old}:14`), { after: 10, gap })
  t.same(after.locate(`${old}:4`), { after: 4, gap: { ...gap, requested: `${old}:4`, firstAvailable: `${old}:5` } }, 'who had less goes on where it was, and is told')
  await after.close()

  const again = await Journal.open({ ...settings, path: join(cut, 'journal.db'), bootId: 'boot-3' })
  t.equal(again.epoch, after.epoch, 'after an orderly end a reboot changes nothing')
  t.same(again.locate(`${again.epoch}:11`), { after: 11 })
  await again.close()
})

t.test('that the journal is open is on disk before its first event: a power cut right after it is noticed', async (t) => {
  const directory = await temporary(t)
  const settings = options(directory)
  await (await Journal.open(settings)).close()
  const journal = await Journal.open({ ...settings, bootId: 'boot-2' })
  const cut = join(directory, 'cut')
  await mkdir(cut)
  for (const name of await readdir(directory)) if (name.startsWith('journal.db')) await copyFile(join(directory, name), join(cut, name))
  const { epoch } = journal
  await journal.close()
  const after = await Journal.open({ ...settings, path: join(cut, 'journal.db'), bootId: 'boot-3' })
  t.not(after.epoch, epoch)
  await after.close()
})

t.test('a second power cut without an event between leaves no epoch without events', async (t) => {
  const settings = options(await temporary(t))
  const open = async (bootId: string): Promise<Journal> => await Journal.open({ ...settings, bootId })
  const [first] = [await open('boot-1')]
  await fill(first, 3)
  const [second, third] = [await open('boot-2'), await open('boot-3')]
  t.same(third.epochs, [{ epoch: first.epoch, first: 1 }, { epoch: third.epoch, first: 4 }])
  t.not(third.epoch, second.epoch)
  for (const journal of [first, second, third]) await journal.close()
})

for (const [name, damage] of Object.entries({
  'no database at all': async (path: string) => await writeFile(path, 'this is not a database, it is a text of some length '.repeat(100)),
  'a torn page': async (path: string) => await overwrite(path, 3 * 4096, 4096),
  'a torn header': async (path: string) => await overwrite(path, 0, 200),
  'cut in half': async (path: string) => await truncate(path),
  "somebody else's tables": async (path: string) => {
    const db = new DatabaseSync(path)
    db.exec('DROP TABLE events; CREATE TABLE events (something)')
    db.close()
  }
})) {
  t.test(`a damaged journal (${name}) is set aside whole, and a new epoch begins`, async (t) => {
    const directory = await temporary(t)
    const log = new TestLog()
    const settings = options(directory, { log })
    const journal = await Journal.open(settings)
    const { epoch } = journal
    await fill(journal, 500)
    await journal.close()
    await damage(settings.path)
    const bytes = await readFile(settings.path)
    const after = await Journal.open(settings)
    t.not(after.epoch, epoch)
    t.equal(after.head, 0)
    t.match(log.lines, [{ level: 'error', message: /set aside/ }])
    const aside = (await readdir(directory)).find((file) => /^journal\.db\.damaged-[\dTZ.-]+$/.test(file)) ?? ''
    t.ok(bytes.equals(await readFile(join(directory, aside))), 'it is there as it was')
    t.equal(await after.append(event()), `${after.epoch}:1`)
    t.match(after.locate(`${epoch}:500`), { after: 0, gap: { reason: 'epoch', lost: null } })
    await after.close()
  })
}

t.test('what cannot be opened for another reason than damage is not set aside', async (t) => {
  const directory = await temporary(t)
  const settings = options(directory)
  await (await Journal.open(settings)).close()
  const db = new DatabaseSync(settings.path)
  db.exec('PRAGMA user_version = 99')
  db.close()
  await t.rejects(Journal.open(settings), { message: /of version 99/ })
  await t.rejects(Journal.open({ ...settings, path: join(directory, 'missing/journal.db') }), { code: 'ENOENT' })
  t.same((await readdir(directory)).filter((name) => name.includes('damaged')), [])
})

t.test('a directory in its place is set aside too', async (t) => {
  const settings = options(await temporary(t))
  await mkdir(settings.path)
  const journal = await Journal.open(settings)
  t.equal(await journal.append(event()), `${journal.epoch}:1`)
  await journal.close()
})

t.test('damage that is found later: the journal is renewed in mid-life, and what waited is written to the new one', async (t) => {
  const settings = options(await temporary(t), { checkAtOnce: 0 })
  const journal = await Journal.open(settings)
  const { epoch } = journal
  await fill(journal, 2000, (n) => event({ requestId: `request-${n}-` }))
  await journal.close()
  const at = (await readFile(settings.path)).indexOf('request-1000-')
  await overwrite(settings.path, at - at % 4096, 4096)
  const log = new TestLog()
  const after = await Journal.open({ ...settings, log })
  t.equal(after.epoch, epoch, 'it is not looked through at once')
  let renewed = 0
  after.onRenewed = () => { renewed++ }
  await until(() => renewed > 0, 'the check beside it found the damage')
  t.not(after.epoch, epoch)
  t.equal(after.head, 0)
  t.equal(await after.append(event()), `${after.epoch}:1`)
  t.match(log.lines, [{ level: 'error', message: /set aside/ }])
  t.equal(renewed, 1)
  await after.close()
})

t.test('a reader meets the damage first', async (t) => {
  const journal = await openJournal(t)
  await fill(journal, 10_000)
  const { epoch } = journal
  const db = new DatabaseSync(journal.options.path)
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  db.close()
  await overwrite(journal.options.path, 10 * 4096, (await stat(journal.options.path)).size - 11 * 4096)
  // The pages that are in SQLite's own cache are sound; some other one is not.
  await t.rejects(readAll(journal), { name: 'JournalError', kind: 'damaged' })
  await until(() => journal.epoch !== epoch)
  t.equal(await journal.append(event()), `${journal.epoch}:1`)
})

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

t.test('the files are for their owner only, also when they were not', async (t) => {
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const directory = await temporary(t)
  const settings = options(directory)
  await writeFile(settings.path, '', { mode: 0o666 })
  const journal = await Journal.open(settings)
  await fill(journal, 10)
  for (const suffix of ['', '-wal', '-shm']) t.equal((await stat(settings.path + suffix)).mode & 0o777, 0o600, suffix)
  await journal.close()
})

async function overwrite (path: string, from: number, length: number): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(Buffer.alloc(length, 0xa5), 0, length, from)
  await file.close()
}

async function truncate (path: string): Promise<void> {
  const file = await open(path, 'r+')
  await file.truncate(Math.floor((await file.stat()).size / 2))
  await file.close()
}
