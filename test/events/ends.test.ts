/** What keeps a stream alive, and how it ends. */
import { open } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { Hub } from '../../src/events/hub.ts'
import { Journal } from '../../src/events/journal.ts'
import { Client, TestLog, fill, follow, house, options, range, temporary, until } from './support.ts'

t.setTimeout(600_000)

t.test('heartbeats and pings go to all who take them, and to those only', async (t) => {
  const { hub } = await house(t, { heartbeatSeconds: 0.05 })
  const [plain, lines, pinged] = [follow(hub, 0).client, follow(hub, 0, { form: 'ndjson' }).client, follow(hub, 0, { ping: 0.05 }).client]
  const stuck = new Client(1)
  stuck.pause()
  stuck.write('x')
  follow(hub, 0, { sink: stuck, ping: 0.05 })
  await until(() => pinged.frames().filter(({ event }) => event === 'Ping').length > 2)
  t.ok(plain.frames().length > 1)
  t.ok(plain.frames().every((frame) => frame.comment !== undefined))
  t.ok(pinged.frames().every(({ id }) => id === undefined))
  t.equal(lines.text, '')
  t.equal(stuck.writableLength, 1, 'nothing is heaped up for one who takes nothing')
})

t.test('who takes nothing for too long is sent away with a word; the others do not notice', async (t) => {
  const { journal, hub } = await house(t, { heartbeatSeconds: 0.05, stallSeconds: 0.2 })
  const stuck = new Client(1)
  stuck.pause()
  const { client } = follow(hub, 0)
  follow(hub, 0, { sink: stuck })
  const lines = new Client(1)
  lines.pause()
  follow(hub, 0, { sink: lines, form: 'ndjson' })
  await fill(journal, 10)
  await until(() => hub.size === 2 && lines.destroyed, 'the lines are broken off')
  t.notOk(lines.writableEnded, 'not ended as if they were complete')
  await until(() => stuck.writableEnded)
  stuck.resume()
  await until(() => stuck.closed)
  t.match(stuck.frames().at(-1), { event: 'Bye', data: { reason: 'slow' }, id: undefined })
  t.same(stuck.sequence(), range(1, 10), 'what it was sent before is whole')
  await until(() => hub.size === 1)
  await fill(journal, 5)
  t.same(client.sequence(), range(1, 15))
})

t.test('what counts is the time since it last took something: one who is slow is not sent away', async (t) => {
  const { journal, hub } = await house(t)
  const slow = new Client(1)
  slow.pause()
  const { reader } = follow(hub, 0, { sink: slow })
  await fill(journal, 9000)
  let before = reader.blockedSince ?? NaN
  for (let round = 0; round < 5; round++) {
    await until(() => performance.now() > before + 1)
    slow.resume()
    slow.pause()
    await until(() => reader.blockedSince !== undefined && reader.blockedSince > before, 'it is full anew')
    before = reader.blockedSince ?? NaN
  }
  t.notOk(slow.writableEnded)
})

t.test('a stream with an end: all up to there, then it is complete, however slow its reader', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 9000)
  const slow = new Client(1)
  slow.pause()
  const clients = [follow(hub, 0, { until: 8999 }).client, follow(hub, 8990, { until: 8999 }).client, follow(hub, 0, { until: 8999, sink: slow }).client]
  const nothing = follow(hub, 9000, { until: 9000, form: 'ndjson' }).client
  await fill(journal, 10)
  await new Promise((resolve) => setTimeout(resolve, 2500))
  slow.resume()
  await until(() => clients.every(({ writableFinished }) => writableFinished))
  t.same(clients.map((client) => client.sequence()), [range(1, 8999), range(8991, 8999), range(1, 8999)])
  t.ok(clients.every((client) => client.frames().at(-1)?.event === 'StateUpdate'), 'no Bye: nothing is wrong')
  t.ok(nothing.writableFinished)
  await until(() => hub.size === 0)
})

t.test('shutdown says so and does not wait for who takes nothing', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 5)
  const stuck = new Client(1)
  stuck.pause()
  const [sse, lines] = [follow(hub, 0).client, follow(hub, 0, { form: 'ndjson' }).client]
  follow(hub, 0, { sink: stuck })
  await until(() => sse.sequence().length === 5)
  await hub.close('shutdown')
  await until(() => sse.closed && lines.closed)
  t.match(sse.frames().slice(-2), [{ retry: /^\d+$/ }, { event: 'Bye', data: { reason: 'shutdown' } }])
  t.equal(lines.text.trim().split('\n').length, 5)
  await until(() => stuck.destroyed, 'it is cut off', 4)
  const late = follow(hub, 0).client
  await until(() => late.closed)
  t.match(late.frames().at(-1), { event: 'Bye' })
  t.equal(hub.size, 0)
})

t.test('a client that has gone before it was taken in, or goes in the middle of a page, leaves nothing behind', async (t) => {
  const { journal, hub, log } = await house(t)
  await fill(journal, 6000)
  const gone = new Client()
  gone.destroy()
  await until(() => gone.closed)
  follow(hub, 0, { sink: gone, ping: 1 })
  t.equal(hub.size, 0)
  const leaving = follow(hub, 0).client
  leaving.destroy(new Error('reset'))
  leaving.on('error', () => {})
  await until(() => hub.size === 0)
  await journal.read({ after: 0 })
  t.same(log.lines, [])
})

t.test('retention that overtakes a reader is told where there is a word for it', async (t) => {
  const settings = options(await temporary(t), { retainEvents: 100 })
  const journal = await Journal.open({ ...settings, retainEvents: 10_000 })
  await fill(journal, 1000)
  await journal.close()
  const short = await Journal.open(settings)
  const hub = new Hub(short, { heartbeatSeconds: 15, log: new TestLog() })
  // They asked while everything was there.
  const [sse, lines] = [follow(hub, 10).client, follow(hub, 10, { form: 'ndjson' }).client]
  await until(() => short.first === 901)
  const late = follow(hub, 10)
  const lateLines = follow(hub, 10, { form: 'ndjson' }).client
  await until(() => sse.sequence().at(-1) === 1000 && late.client.sequence().at(-1) === 1000 && lateLines.destroyed)
  for (const client of [sse, late.client]) {
    let expected = 11
    for (const { event, data, id } of client.frames()) {
      if (event === 'Gap') {
        t.equal(data.requested, `${short.epoch}:${expected - 1}`)
        t.equal(id, undefined)
        expected += data.lost
        t.equal(data.firstAvailable, `${short.epoch}:${expected}`)
      } else if (id !== `${short.epoch}:${expected++}`) {
        t.fail(`${id} instead of ${expected - 1}`)
      }
    }
  }
  t.equal(late.client.frames()[0]?.event, 'Gap')
  t.same(lateLines.text, '', 'lines stop before the hole')
  const seqs = lines.text.trim().split('\n').filter((line) => line !== '').map((line) => Number(JSON.parse(line).id.split(':')[1]))
  t.same(seqs, range(11, 10 + seqs.length), 'and never leap over one')
  await hub.close('shutdown')
  await short.close()
})

t.test('a journal that is renewed in mid-life: readers are sent to come back, and new ones get the new history', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 10_000)
  const { epoch } = journal
  const head = follow(hub, journal.head).client
  const db = new DatabaseSync(journal.options.path)
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  db.close()
  const file = await open(journal.options.path, 'r+')
  await file.write(Buffer.alloc(100 * 4096, 0xa5), 0, undefined, 50 * 4096)
  await file.close()
  const behind = follow(hub, 0).client
  await until(() => head.closed && behind.closed)
  t.match(head.frames().at(-1), { event: 'Bye', data: { reason: 'journal-lost' } })
  t.match(behind.frames().at(-1), { event: 'Bye', data: { reason: /^journal-/ } })
  t.not(journal.epoch, epoch)
  const fresh = follow(hub, journal.head).client
  await fill(journal, 3)
  t.same(fresh.ids(), range(1, 3).map((seq) => `${journal.epoch}:${seq}`))
})
