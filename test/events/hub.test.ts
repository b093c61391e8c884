import { DatabaseSync } from 'node:sqlite'
import { open } from 'node:fs/promises'
import t from 'tap'
import { Filter, type FilterInput } from '../../src/events/filter.ts'
import { Hub, type HubOptions } from '../../src/events/hub.ts'
import { Journal } from '../../src/events/journal.ts'
import { StreamSink } from '../../src/events/sink.ts'
import { Reader, type ReaderOptions } from '../../src/events/reader.ts'
import { Client, TestLog, event, fill, openJournal, options, range, temporary, turn, until } from './support.ts'

t.setTimeout(600_000)

type House = { journal: Journal, hub: Hub, log: TestLog }

async function house (t: any, more: Partial<HubOptions> = {}): Promise<House> { // any: tap's Test
  const journal = await openJournal(t)
  const log = new TestLog()
  const hub = new Hub(journal, { heartbeatSeconds: 15, log, ...more })
  t.teardown(async () => await hub.close('shutdown'))
  return { journal, hub, log }
}

function join (hub: Hub, after: number, more: Partial<Omit<ReaderOptions, 'filter' | 'sink'>> & { filter?: FilterInput, sink?: Client } = {}): { client: Client, reader: Reader } {
  const { filter = {}, form = 'sse', sink: client = new Client() } = more
  const reader = new Reader({ ...more, after, filter: new Filter(filter), form, sink: new StreamSink(client) })
  hub.add(reader)
  return { client, reader }
}

t.test('a reader who keeps up is written to in the turn in which the event is committed', async (t) => {
  const { journal, hub } = await house(t)
  const { client } = join(hub, 0)
  let then = ''
  await journal.append(event(), () => queueMicrotask(() => { then = client.text }))
  t.match(then, /^id: [0-9a-f]{8}:1\nevent: StateUpdate\ndata: \{"id":"[0-9a-f]{8}:1",.*\}\n\n$/)
})

t.test('all readers of a form share the bytes, and a batch is one write', async (t) => {
  const { journal, hub } = await house(t)
  const readers = range(1, 5).map(() => join(hub, 0).client)
  const lines = join(hub, 0, { form: 'ndjson' }).client
  await fill(journal, 10)
  await fill(journal, 1)
  for (const { chunks } of readers) {
    t.equal(chunks.length, 2)
    t.ok(chunks.every((chunk, index) => chunk.buffer === readers[0]?.chunks[index]?.buffer && chunk.byteOffset === readers[0]?.chunks[index]?.byteOffset))
  }
  t.same(lines.text.trim().split('\n').map((line) => JSON.parse(line).id), readers[0]?.ids())
})

t.test('resume at every position gives exactly what comes after it, from memory and from disk', async (t) => {
  const settings = options(await temporary(t))
  const journal = await Journal.open(settings)
  await fill(journal, 120)
  await journal.close()
  // After the restart the first 120 are on disk only, the rest in the tail too.
  const again = await Journal.open(settings)
  const hub = new Hub(again, { heartbeatSeconds: 15, log: new TestLog() })
  await fill(again, 30)
  const clients = range(0, 150).map((after) => join(hub, after).client)
  await until(() => clients.slice(0, -1).every((client) => client.sequence().at(-1) === 150))
  await fill(again, 5)
  await until(() => clients.every((client) => client.sequence().at(-1) === 155))
  for (const [after, client] of clients.entries()) {
    if (JSON.stringify(client.sequence()) !== JSON.stringify(range(after + 1, 155))) t.fail(`after ${after}: ${client.sequence().join()}`)
  }
  t.pass('151 positions')
  await hub.close('shutdown')
  await again.close()
})

t.test('a slow reader goes from the tail to the journal and back to the tail, without gap or repeat, holding one write at most', async (t) => {
  const { journal, hub } = await house(t)
  const slow = new Client(1)
  const quick = join(hub, 0).client
  slow.pause()
  const { reader } = join(hub, 0, { sink: slow })
  let most = 0
  // Three times the tail, while the slow one takes a piece now and then.
  for (const round of range(1, 130)) {
    await fill(journal, 100)
    most = Math.max(most, slow.writableLength)
    if (round % 40 === 0) {
      slow.resume()
      await turn()
      slow.pause()
    }
  }
  t.same(quick.sequence(), range(1, 13_000), 'the quick one is not held up')
  t.ok(reader.after < 13_000 - 4096, 'it is behind the tail')
  t.ok(most < 200 * 1024, `${most} bytes were held for it`)
  slow.resume()
  const more = setInterval(() => { void journal.append(event()) }, 1)
  await until(() => reader.after === journal.head)
  clearInterval(more)
  await fill(journal, 10)
  await until(() => slow.sequence().at(-1) === journal.head)
  t.same(slow.sequence(), range(1, journal.head))
})

t.test('readers who catch up while others write join the head without gap or repeat', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 10_000)
  let writing = true
  const writer = (async () => {
    while (writing) {
      await fill(journal, 1 + Math.floor(Math.random() * 30))
      await turn()
    }
  })()
  const clients: [number, Client][] = []
  for (const after of [0, 0, 1, 77, 3000, 5904, 5905, 9000, 9999, 10_000]) {
    clients.push([after, join(hub, after, { sink: new Client([1, 1000, 100_000][clients.length % 3]) }).client])
    await turn()
  }
  await new Promise((resolve) => setTimeout(resolve, 300))
  writing = false
  await writer
  const { head } = journal
  await until(() => clients.every(([, client]) => client.sequence().at(-1) === head))
  for (const [after, client] of clients) t.same(client.sequence(), range(after + 1, head), `after ${after}`)
})

t.test('with more readers than one turn serves, who joins in the middle of a round gets each event once', async (t) => {
  const { journal, hub } = await house(t, { turnBudget: 0 })
  const clients: [number, Client][] = range(1, 1700).map(() => [0, join(hub, 0).client])
  const appended = journal.append(event(), () => {
    // The round goes on in later turns; these come in between, at positions before and behind the event.
    setImmediate(() => {
      clients.push([0, join(hub, 0).client], [1, join(hub, 1).client])
      void fill(journal, 3)
    })
  })
  await appended
  t.ok(clients.some(([, { text }]) => text === ''), 'the round is not over yet')
  await until(() => clients.every(([, client]) => client.sequence().at(-1) === 4))
  t.same(clients.filter(([after, client]) => client.sequence().join() !== range(after + 1, 4).join()), [])
  t.equal(hub.size, 1702)
})

t.test('a filter lets its own events through, from the tail as from the journal, and a bookmark keeps the cursor of a quiet one', async (t) => {
  const { journal, hub } = await house(t, { heartbeatSeconds: 0.05 })
  await fill(journal, 6000, (n) => event({ containerId: `c${n % 10}` }))
  const filter = { container: ['c1', 'c2'] }
  const expected = range(1, 6000).filter((seq) => [1, 2].includes((seq - 1) % 10))
  const [disk, memory, quiet] = [join(hub, 0, { filter }).client, join(hub, 5000, { filter }).client, join(hub, 5999, { filter: { label: ['none'] } }).client]
  await until(() => disk.sequence().length === expected.length && memory.sequence().length > 0)
  t.same(disk.sequence(), expected)
  t.same(memory.sequence(), expected.filter((seq) => seq > 5000))
  await fill(journal, 5)
  const bookmarks = (client: Client): (string | undefined)[] => client.frames().filter(({ data, id }) => data === undefined && id !== undefined).map(({ id }) => id)
  await until(() => bookmarks(quiet).at(-1) === `${journal.epoch}:6005`)
  t.same(quiet.sequence(), [], 'no event')
  await until(() => bookmarks(disk).at(-1) === `${journal.epoch}:6005`)
  const { length } = bookmarks(quiet)
  await until(() => quiet.frames().filter(({ comment }) => comment !== undefined).length > 3)
  t.equal(bookmarks(quiet).length, length, 'a cursor that has not moved is not told again')
  const told = bookmarks(disk).map((id) => Number(id?.split(':')[1]))
  t.same(told, [...told].sort((a, b) => a - b), 'it never goes back')
})

t.test('a bookmark never runs ahead of what was written', async (t) => {
  const { journal, hub } = await house(t, { heartbeatSeconds: 0.05 })
  const slow = new Client(1)
  slow.pause()
  join(hub, 0, { sink: slow, filter: { container: ['mine'] } })
  await fill(journal, 9000, (n) => event({ containerId: n % 2 === 0 ? 'mine' : 'other', labels: { text: 'x'.repeat(50) } }))
  for (let round = 0; round < 100; round++) {
    slow.resume()
    await turn()
    slow.pause()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  slow.resume()
  await until(() => slow.sequence().length === 4500)
  await new Promise((resolve) => setTimeout(resolve, 150))
  let cursor = 0
  for (const { id, data } of slow.frames()) {
    const seq = Number(id?.split(':')[1] ?? cursor)
    if (data === undefined) {
      cursor = seq
      continue
    }
    if (seq <= cursor) t.fail(`event ${seq} after the cursor was at ${cursor}`)
    cursor = seq
  }
  t.equal(cursor, 9000)
})

t.test('heartbeats and pings go to all who take them, and to those only', async (t) => {
  const { hub } = await house(t, { heartbeatSeconds: 0.05 })
  const [plain, lines, pinged] = [join(hub, 0).client, join(hub, 0, { form: 'ndjson' }).client, join(hub, 0, { ping: 0.05 }).client]
  const stuck = new Client(1)
  stuck.pause()
  stuck.write('x')
  join(hub, 0, { sink: stuck, ping: 0.05 })
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
  const { client } = join(hub, 0)
  join(hub, 0, { sink: stuck })
  const lines = new Client(1)
  lines.pause()
  join(hub, 0, { sink: lines, form: 'ndjson' })
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
  const { reader } = join(hub, 0, { sink: slow })
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
  const clients = [join(hub, 0, { until: 8999 }).client, join(hub, 8990, { until: 8999 }).client, join(hub, 0, { until: 8999, sink: slow }).client]
  const nothing = join(hub, 9000, { until: 9000, form: 'ndjson' }).client
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
  const [sse, lines] = [join(hub, 0).client, join(hub, 0, { form: 'ndjson' }).client]
  join(hub, 0, { sink: stuck })
  await until(() => sse.sequence().length === 5)
  await hub.close('shutdown')
  await until(() => sse.closed && lines.closed)
  t.match(sse.frames().slice(-2), [{ retry: /^\d+$/ }, { event: 'Bye', data: { reason: 'shutdown' } }])
  t.equal(lines.text.trim().split('\n').length, 5)
  await until(() => stuck.destroyed, 'it is cut off', 4)
  const late = join(hub, 0).client
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
  join(hub, 0, { sink: gone, ping: 1 })
  t.equal(hub.size, 0)
  const leaving = join(hub, 0).client
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
  const [sse, lines] = [join(hub, 10).client, join(hub, 10, { form: 'ndjson' }).client]
  await until(() => short.first === 901)
  const late = join(hub, 10)
  const lateLines = join(hub, 10, { form: 'ndjson' }).client
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
  const head = join(hub, journal.head).client
  const db = new DatabaseSync(journal.options.path)
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  db.close()
  const file = await open(journal.options.path, 'r+')
  await file.write(Buffer.alloc(100 * 4096, 0xa5), 0, undefined, 50 * 4096)
  await file.close()
  const behind = join(hub, 0).client
  await until(() => head.closed && behind.closed)
  t.match(head.frames().at(-1), { event: 'Bye', data: { reason: 'journal-lost' } })
  t.match(behind.frames().at(-1), { event: 'Bye', data: { reason: /^journal-/ } })
  t.not(journal.epoch, epoch)
  const fresh = join(hub, journal.head).client
  await fill(journal, 3)
  t.same(fresh.ids(), range(1, 3).map((seq) => `${journal.epoch}:${seq}`))
})

t.test('big events: each write stays small, and all of them arrive', async (t) => {
  const { journal, hub } = await house(t)
  const { client } = join(hub, 0)
  const filtered = join(hub, 0, { filter: { container: ['web'] } }).client
  await fill(journal, 60, () => event({ labels: { big: 'y'.repeat(40_000) } }))
  await until(() => client.sequence().length === 60 && filtered.sequence().length === 60)
  t.same(client.sequence(), range(1, 60))
  t.ok(Math.max(...client.chunks.map(({ length }) => length)) < 64 * 1024 + 41_000)
  const again = join(hub, 0).client
  await until(() => again.sequence().length === 60)
  t.ok(Math.max(...again.chunks.map(({ length }) => length)) < 64 * 1024 + 41_000)
})
