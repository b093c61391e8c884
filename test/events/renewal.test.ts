/** What becomes of events, questions and readers while a damaged journal gives way to a new one. */
import { copyFileSync, readdirSync } from 'node:fs'
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { Entry } from '../../src/events/entry.ts'
import { Journal } from '../../src/events/journal.ts'
import { makeApi } from '../support/api.ts'
import { TestLog, event, exit, fill, follow, house, openJournal, options, range, readAll, temporary, until } from './support.ts'

t.setTimeout(600_000)

const row = { runId: 'run', processId: 'init', containerId: 'web', exit }
const asked = { containerId: 'web', runId: 'run', processId: 'init' }
const exitEvent = (): ReturnType<typeof event> => event({ type: 'StateExit', runId: 'run', processId: 'init', requestId: 'told', exit })

/** A journal with a lane, of which the run `run` is known and the exits are no exits any more: whoever asks for the first one meets damage. */
async function damaged (t: Test, log = new TestLog()): Promise<Journal> {
  const directory = await temporary(t)
  const journal = await openJournal(t, options(directory, { lane: join(directory, 'journal.lane'), log }))
  await journal.append(event({ type: 'StateCreate', runId: 'run' }))
  await journal.append(event(), undefined, { ...row, runId: 'broken' })
  await journal.knows('web')
  const db = new DatabaseSync(journal.options.path)
  db.exec("UPDATE exits SET exit = '{\"status\":6'")
  db.close()
  return journal
}

const meet = async (journal: Journal): Promise<unknown> => await journal.exitOf({ ...asked, runId: 'broken' })

/** Calls once when the journal's thread has been asked to renew, before it has an answer. */
function onAsked (t: Test, call: () => void): void {
  const { postMessage } = Worker.prototype
  const restore = (): void => { Worker.prototype.postMessage = postMessage }
  t.teardown(restore)
  Worker.prototype.postMessage = function (message: { op?: string }, ...more) {
    postMessage.call(this, message, ...more)
    if (message.op !== 'renew') return
    restore()
    call()
  }
}

/** What a daemon that was killed now would leave. */
function leave (from: string, to: string, names: RegExp): void {
  for (const name of readdirSync(from)) if (names.test(name)) copyFileSync(join(from, name), join(to, name))
}

t.test('a commit that the renewal overtook is no fault of the new journal: it is renewed once, and what was told is in it', async (t) => {
  const log = new TestLog()
  const journal = await damaged(t, log)
  let renewals = 0
  journal.onRenewed = () => { renewals++ }
  const { epoch } = journal
  onAsked(t, () => { void journal.knows('web') })
  const met = meet(journal)
  t.equal((await journal.append(exitEvent(), undefined, row)).split(':')[0], epoch, 'told ahead')
  await met
  await journal.append(event({ requestId: 'later' }))
  t.equal(renewals, 1)
  t.same(log.lines.map(({ message }) => message).filter((message) => message.includes('set aside')).length, 1)
  t.same(await journal.exitOf(asked), row)
  t.same((await readAll(journal)).map(({ requestId }) => requestId), ['told', 'later'])
})

t.test('what is asked in one history and answered by the next is no answer', async (t) => {
  const journal = await damaged(t)
  await fill(journal, 10)
  let page: Promise<unknown> | undefined
  onAsked(t, () => {
    page = t.rejects(journal.read({ after: 5 }), { code: 'events_gone' })
  })
  await meet(journal)
  await page
  t.not(page, undefined)
})

t.test('who kills the daemon between the renewal and the commit of what was told does not take it away; nor is it told twice', async (t) => {
  const [killed, later] = [await temporary(t), await temporary(t)]
  const journal = await damaged(t)
  const directory = join(journal.options.path, '..')
  journal.onRenewed = () => {
    leave(directory, killed, /^journal\.(db|db-wal|lane)$/)
    leave(directory, later, /^journal\.lane$/)
  }
  onAsked(t, () => {})
  const met = meet(journal)
  await journal.append(exitEvent(), undefined, row)
  await met
  await until(async () => (await readAll(journal)).length === 1)
  leave(directory, later, /^journal\.(db|db-wal)$/)

  for (const [name, copy] of Object.entries({ 'before the commit': killed, 'right after it': later })) {
    const next = await Journal.open(options(copy, { lane: join(copy, 'journal.lane') }))
    t.equal(next.epoch, journal.epoch, name)
    t.same(await next.exitOf(asked), row)
    t.same((await readAll(next)).map(({ id, requestId }) => [id, requestId]), [[`${next.epoch}:1`, 'told']])
    t.equal(await next.append(event()), `${next.epoch}:2`)
    await next.close()
  }
})

t.test('a database that is found damaged at the start: what was told and not in it comes first in the new one', async (t) => {
  const [directory, copy] = [await temporary(t), await temporary(t)]
  const settings = (there: string): ReturnType<typeof options> => options(there, { lane: join(there, 'journal.lane') })
  const journal = await openJournal(t, settings(directory))
  await journal.append(event({ type: 'StateCreate', runId: 'run' }))
  const blocker = new DatabaseSync(journal.options.path)
  blocker.exec('BEGIN IMMEDIATE')
  await journal.append(exitEvent(), undefined, row)
  await copyFile(join(directory, 'journal.lane'), join(copy, 'journal.lane'))
  blocker.exec('ROLLBACK')
  blocker.close()
  await writeFile(join(copy, 'journal.db'), 'this is not a database, it is a text of some length '.repeat(100))
  const next = await Journal.open(settings(copy))
  t.not(next.epoch, journal.epoch)
  t.same(await next.exitOf(asked), row)
  const told = (await readAll(next)).map(({ id }) => id)
  t.equal(told.at(-1), `${next.epoch}:${told.length}`)
  t.match(next.locate(`${journal.epoch}:1`), { after: 0, gap: { reason: 'epoch' } })
  await next.close()
  const again = await Journal.open(settings(copy))
  t.same((await readAll(again)).map(({ id }) => id), told, 'once')
  await again.close()
})

t.test('readers of the old history, however many, get nothing of the new one', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 3)
  const clients = range(1, 450).map((n) => follow(hub, 0, n % 2 === 0 ? {} : { filter: { container: ['web'] } }).client)
  await until(() => clients.every((client) => client.sequence().length === 3))
  journal.onRenewed()
  const { type, containerId } = event()
  journal.onCommitted([new Entry('new', 4, type, containerId, '{}', `"type":"${type}","containerId":"${containerId}"}`)])
  await until(() => clients.every((client) => client.closed))
  t.equal(clients.filter((client) => client.sequence().length === 3 && client.frames().at(-1)?.data.reason === 'journal-lost').length, 450)
  await until(() => hub.size === 0)
  const { client } = follow(hub, 4)
  journal.onCommitted([new Entry('new', 5, type, containerId, '{}', `"type":"${type}","containerId":"${containerId}"}`)])
  await until(() => client.ids().length > 0)
  t.same(client.ids(), ['new:5'], 'who comes then does')
})

t.test('an event of a run that is none any more is damage too', async (t) => {
  const journal = await openJournal(t)
  await journal.append(event({ type: 'StateCreate', runId: 'run' }))
  const { epoch } = journal
  const db = new DatabaseSync(journal.options.path)
  db.exec("UPDATE events SET body = '\"type'")
  db.close()
  t.same(await journal.eventsOfRun('run'), [])
  t.not(journal.epoch, epoch)
})

t.test('a page is of one history, and does not wait for a database that cannot be written', async (t) => {
  const api = await makeApi([], { lane: true })
  t.teardown(async () => await api.close())
  const { app, journal } = api
  const page = async (): Promise<{ status: number, body: any }> => { // any: a response of inject
    const { statusCode, body } = await app.inject('/events?follow=false')
    return { status: statusCode, body: JSON.parse(body) }
  }
  await journal.append(event({ type: 'StateCreate', runId: 'run' }))
  await journal.append(event(), undefined, row)
  await journal.knows('none')
  const db = new DatabaseSync(journal.options.path)
  db.exec('BEGIN IMMEDIATE')
  const id = await journal.append(event({ type: 'StateHealth', runId: 'run' }))
  t.equal(id, `${journal.epoch}:3`)
  await until(() => !journal.writable)
  const begin = performance.now()
  const { body } = await page()
  t.same([body.items.length, body.nextCursor], [2, `${journal.epoch}:2`], 'the rest comes when it can be written')
  t.ok(performance.now() - begin < 2000)
  db.exec("ROLLBACK; UPDATE exits SET exit = '{'")
  db.close()
  await journal.append(event())
  const { epoch } = journal
  const read = journal.read.bind(journal)
  journal.read = async (options) => {
    const found = await read({ ...options, limit: 1 })
    if (journal.epoch === epoch) await journal.exitOf(asked)
    return found
  }
  t.match(await page(), { status: 410, body: { code: 'events_gone' } })
  t.not(journal.epoch, epoch)
})
