import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { Journal } from '../../src/events/journal.ts'
import { TestLog, event, exit, fill, openJournal, options, range, readAll, temporary, turn, until } from './support.ts'

// Five processes are killed in here, and the machine may be busy.
t.setTimeout(600_000)

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
  t.same(seen, ['told 1,2', 'a 1', 'b 2', 'later', 'resolved'])
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
