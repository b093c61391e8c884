/** Every reader gets everything after its position, once. */
import t from 'tap'
import { Hub } from '../../src/events/hub.ts'
import { Journal } from '../../src/events/journal.ts'
import { Client, TestLog, event, fill, follow, house, options, range, temporary, turn, until } from './support.ts'

t.setTimeout(600_000)

t.test('a reader who keeps up is written to in the turn in which the event is committed', async (t) => {
  const { journal, hub } = await house(t)
  const { client } = follow(hub, 0)
  let then = ''
  await journal.append(event(), () => queueMicrotask(() => { then = client.text }))
  t.match(then, /^id: [0-9a-f]{8}:1\nevent: StateUpdate\ndata: \{"id":"[0-9a-f]{8}:1",.*\}\n\n$/)
})

t.test('all readers of a form share the bytes, and a batch is one write', async (t) => {
  const { journal, hub } = await house(t)
  const readers = range(1, 5).map(() => follow(hub, 0).client)
  const lines = follow(hub, 0, { form: 'ndjson' }).client
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
  const clients = range(0, 150).map((after) => follow(hub, after).client)
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
  const quick = follow(hub, 0).client
  slow.pause()
  const { reader } = follow(hub, 0, { sink: slow })
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
    clients.push([after, follow(hub, after, { sink: new Client([1, 1000, 100_000][clients.length % 3]) }).client])
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
  const clients: [number, Client][] = range(1, 1700).map(() => [0, follow(hub, 0).client])
  const appended = journal.append(event(), () => {
    // The round goes on in later turns; these come in between, at positions before and behind the event.
    setImmediate(() => {
      clients.push([0, follow(hub, 0).client], [1, follow(hub, 1).client])
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
  const [disk, memory, quiet] = [follow(hub, 0, { filter }).client, follow(hub, 5000, { filter }).client, follow(hub, 5999, { filter: { label: ['none'] } }).client]
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
  follow(hub, 0, { sink: slow, filter: { container: ['mine'] } })
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

t.test('big events: each write stays small, and all of them arrive', async (t) => {
  const { journal, hub } = await house(t)
  const { client } = follow(hub, 0)
  const filtered = follow(hub, 0, { filter: { container: ['web'] } }).client
  await fill(journal, 60, () => event({ labels: { big: 'y'.repeat(40_000) } }))
  await until(() => client.sequence().length === 60 && filtered.sequence().length === 60)
  t.same(client.sequence(), range(1, 60))
  t.ok(Math.max(...client.chunks.map(({ length }) => length)) < 64 * 1024 + 41_000)
  const again = follow(hub, 0).client
  await until(() => again.sequence().length === 60)
  t.ok(Math.max(...again.chunks.map(({ length }) => length)) < 64 * 1024 + 41_000)
  const text = 'é\r\n\0😀'.repeat(300_000)
  await journal.append(event({ labels: { text } }))
  const late = follow(hub, 60).client
  await until(() => [client, filtered, late].every((one) => one.sequence().at(-1) === 61))
  t.ok([client, filtered, late].every((one) => one.frames().at(-1)?.data.labels.text === text), 'also one of megabytes')
})

t.test('the time from an event to its write is counted for those who keep up, not for what is read again', async (t) => {
  const { journal, hub } = await house(t)
  await fill(journal, 20)
  await new Promise((resolve) => setTimeout(resolve, 30))
  const counted = (): number => hub.stats.latencies.reduce((sum, count) => sum + count, 0)
  const clients = [follow(hub, 0).client, follow(hub, 10, { filter: { container: ['web'] } }).client]
  const slow = new Client(1)
  slow.pause()
  follow(hub, 0, { sink: slow })
  await until(() => clients.every((client) => client.sequence().at(-1) === 20))
  t.equal(counted(), 0, 'a replay')
  await journal.append(event())
  t.equal(counted(), 2, 'one event to two readers')
  t.ok(hub.stats.latencySum < 0.03)
  slow.resume()
  await until(() => slow.sequence().at(-1) === 21)
  t.equal(counted(), 2, 'late by its own fault')
})
