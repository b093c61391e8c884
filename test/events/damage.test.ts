/** Damaged files and power cuts: when a new epoch begins, and who is told. */
import { copyFile, mkdir, readFile, readdir, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { Journal } from '../../src/events/journal.ts'
import { TestLog, event, exit, fill, follow, house, openJournal, options, overwrite, range, readAll, temporary, turn, until } from './support.ts'

t.setTimeout(600_000)

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
  'cut in half': async (path: string) => await truncate(path, Math.floor((await stat(path)).size / 2)),
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
  await t.rejects(readAll(journal), { code: 'events_gone' })
  t.not(journal.epoch, epoch)
  t.equal(await journal.append(event()), `${journal.epoch}:1`)
})

/** Writes over the pages that hold a text, in the file itself, and makes the journal's thread read them anew. */
async function damagePages (path: string, text: string): Promise<void> {
  const db = new DatabaseSync(path)
  db.exec("INSERT OR REPLACE INTO meta VALUES ('test', '1'); PRAGMA wal_checkpoint(TRUNCATE)")
  db.close()
  const bytes = await readFile(path)
  const pages = new Set<number>()
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) pages.add(at - at % 4096)
  if (pages.size === 0) throw new Error(`there is no ${text} in the file`)
  for (const page of pages) await overwrite(path, page, 4096)
}

const row = (runId: string) => ({ runId, processId: 'init', containerId: 'web', exit: { ...exit, status: 61 } })

for (const [name, ask] of Object.entries({
  'the exit of a run': async (journal) => await journal.exitOf({ containerId: 'web', runId: 'one', processId: 'init' }),
  'the exit of a container': async (journal) => await journal.exitOf({ containerId: 'web', processId: 'init' }),
  'the next exit': async (journal) => await journal.exitAfter({ containerId: 'web', runId: 'one', processId: 'init' })
} satisfies Record<string, (journal: Journal) => Promise<unknown>>)) {
  t.test(`who asks for ${name} and meets damage: the journal is set aside, the answer is what the new one has, and readers are told`, async (t) => {
    const { journal, hub } = await house(t)
    for (const runId of ['one', 'two']) await journal.append(event(), undefined, row(runId))
    await fill(journal, 20)
    const { epoch, head } = journal
    const { client } = follow(hub, head)
    await damagePages(journal.options.path, '"status":61')
    t.equal(await ask(journal), undefined)
    t.not(journal.epoch, epoch)
    t.match(journal.locate(`${epoch}:${head}`), { after: 0, gap: { reason: 'epoch', lost: null } })
    await until(() => client.closed)
    t.match(client.frames().at(-1), { event: 'Bye', data: { reason: 'journal-lost' } })
    t.equal(await journal.append(event()), `${journal.epoch}:1`)
  })
}

t.test('retention meets damage', async (t) => {
  const { journal, hub } = await house(t, {}, { retainEvents: 1000 })
  await fill(journal, 1000, (n) => event({ requestId: `request-${n}-` }))
  const { epoch, head } = journal
  const { client } = follow(hub, head)
  await damagePages(journal.options.path, 'request-79-')
  // Enough for a look at the bounds; what is written lies elsewhere, and the text is in no page but its own.
  await fill(journal, 101)
  await until(() => journal.epoch !== epoch)
  await until(() => client.closed)
  t.match(client.frames().at(-1), { event: 'Bye', data: { reason: 'journal-lost' } })
  t.equal(await journal.append(event()), `${journal.epoch}:${journal.head}`)
  await until(() => journal.bytes > 0, 'the bounds are looked at again')
})

t.test('an exit that is none any more is damage too', async (t) => {
  const { journal } = await house(t)
  await journal.append(event(), undefined, row('one'))
  const { epoch } = journal
  const db = new DatabaseSync(journal.options.path)
  db.exec("UPDATE exits SET exit = '{\"status\":6'")
  db.close()
  t.equal(await journal.exitOf({ containerId: 'web', runId: 'one', processId: 'init' }), undefined)
  t.not(journal.epoch, epoch)
})

t.test('what was told ahead of a database that turns out to be damaged comes first in the new one, in its order', async (t) => {
  const directory = await temporary(t)
  const { journal } = await house(t, {}, options(directory, { lane: join(directory, 'journal.lane') }))
  await journal.append(event({ type: 'StateCreate', runId: 'known', requestId: 'damage-here' }))
  await fill(journal, 50, () => event({ labels: { text: 'x'.repeat(400) } }))
  await journal.exitOf({ containerId: 'web', processId: 'init' })
  const { epoch } = journal
  const db = new DatabaseSync(journal.options.path)
  db.exec("INSERT OR REPLACE INTO meta VALUES ('test', '1'); PRAGMA wal_checkpoint(TRUNCATE)")
  db.close()
  // All but the first page, so that nothing can be written.
  await overwrite(journal.options.path, 4096, (await stat(journal.options.path)).size - 4096)
  const told: string[] = []
  const note = (name: string) => async (id: Promise<string>): Promise<void> => { told.push(`${name} ${(await id).split(':')[0] === epoch ? 'old' : 'new'}`) }
  const exitEvent = event({ type: 'StateExit', runId: 'known', processId: 'init', requestId: 'first', exit })
  const all = [
    note('first')(journal.append(exitEvent, undefined, row('known'))),
    note('second')(journal.append(event({ requestId: 'second' })))
  ]
  await Promise.resolve().then(() => {}).then(() => {})
  t.equal(journal.epoch, epoch)
  const renewed = journal.onRenewed
  let between: Promise<unknown> | undefined
  journal.onRenewed = () => {
    renewed()
    between = journal.exitOf({ containerId: 'web', runId: 'known', processId: 'init' })
  }
  // A run that is not known goes the longer way, behind what was told; one more comes meanwhile.
  all.push(note('third')(journal.append(event({ type: 'StateStart', runId: 'unknown', processId: 'init', requestId: 'third' }))))
  await turn()
  all.push(note('fourth')(journal.append(event({ requestId: 'fourth' }))))
  await Promise.all(all)
  t.same(await between, row('known'), 'an exit that is told is there, also on its way from one history into the next')
  t.same(told, ['first old', 'second old', 'third new', 'fourth new'])
  t.same((await readAll(journal)).map(({ requestId }) => requestId), ['first', 'second', 'third', 'fourth'])
})
