import t from 'tap'
import { Client, type StreamItem } from '../../src/client/index.ts'
import { unixFetch } from '../../src/client/node.ts'
import { Daemon, trap } from '../support/daemon.ts'
import { firstToken, tcpAddress } from '../support/tcp.ts'

const daemon = await Daemon.start(['--listen', '127.0.0.1:0'])
t.teardown(async () => await daemon.destroy())
const address = tcpAddress(daemon)
const tcp = new Client({ baseUrl: `http://${address}`, token: firstToken(daemon) })
const unix = new Client({ fetch: unixFetch(daemon.socket) })

t.test('the main job, over either way, with types', async (t) => {
  for (const [name, client] of Object.entries({ tcp, unix })) {
    const bundle = await daemon.bundle(name, trap(42))
    const stream = client.events({ filters: { container: [name] }, from: 'earliest' })[Symbol.asyncIterator]()
    const created = await client.createContainer({ body: { id: name, bundle, labels: { via: name } } })
    t.equal(created.status, 'running')
    t.same((await client.listContainers({ query: { label: [`via=${name}`], status: ['running'] } })).items.map(({ id }) => id), [name])
    const stopped = await client.stopContainer({ path: { id: name }, body: { signal: 'SIGKILL' } })
    t.match(stopped.exit, { status: 137, signal: 'SIGKILL' })
    const exit = await client.waitContainer({ path: { id: name } })
    t.match(exit, { status: 137 })
    t.equal(await client.deleteContainer({ path: { id: name } }), null)
    const seen: StreamItem[] = []
    while (seen.at(-1)?.type !== 'StateDelete') seen.push((await stream.next()).value as StreamItem)
    t.same(seen.map(({ type }) => type), ['StateCreate', 'StateStart', 'StateExit', 'StateDelete'])
    const [, , exited] = seen
    t.same(exited?.type === 'StateExit' && exited.exit, stopped.exit, 'one record')
    await stream.return?.(undefined)
    await t.rejects(client.getContainer({ path: { id: name } }), { name: 'ProblemError', status: 404, code: 'container_not_found' })
    t.match(await client.getMetrics(), 'longshore_', 'text is text')
    t.match((await client.raw('getVersion', {})).headers.get('x-request-id'), /./)
  }
})

t.test('a snapshot and what comes after it, in one stream', async (t) => {
  await unix.createContainer({ body: { id: 'there', bundle: await daemon.bundle('there', trap(0)), start: false } })
  const stream = unix.events({ snapshot: true })[Symbol.asyncIterator]()
  const { value: snapshot } = await stream.next()
  t.equal(snapshot?.type === 'Snapshot' && snapshot.containers.find(({ id }) => id === 'there')?.status, 'created')
  await unix.deleteContainer({ path: { id: 'there' } })
  t.match(await stream.next(), { value: { type: 'StateDelete', containerId: 'there' } })
  await stream.return?.(undefined)
})

t.test('kill -9 of the daemon in mid-stream: nothing lost, nothing twice', async (t) => {
  const bundle = await daemon.bundle('many', trap(0))
  const seen: StreamItem[][] = [[], []]
  let disconnects = 0
  const readers = [tcp, unix].map(async (client, index) => {
    for await (const item of client.events({ from: 'earliest', backoff: { initial: 20, max: 100 }, onDisconnect: () => { disconnects++ } })) {
      seen[index]?.push(item)
      if ('containerId' in item && item.containerId === 'last') return
    }
  })
  for (let kills = 0; kills < 2; kills++) {
    const work = Array.from({ length: 4 }, async (_, index) => {
      const id = `many-${kills}-${index}`
      await unix.createContainer({ body: { id, bundle, start: false } })
      await unix.deleteContainer({ path: { id } })
    })
    await Promise.any(work)
    await daemon.stop('SIGKILL')
    await Promise.allSettled(work)
    await daemon.launch(['--listen', address])
  }
  await unix.createContainer({ body: { id: 'last', bundle, start: false } })
  await Promise.all(readers)
  const kept = await daemon.get('/events?follow=false&from=earliest&limit=1000')
  const all = kept.body.items.map(({ id }: { id: string }) => id)
  for (const items of seen) t.same(items.filter((item) => 'id' in item).map((item) => 'id' in item && item.id), all)
  t.same(seen.flat().filter(({ type }) => type === 'Gap'), [])
  t.ok(all.length >= 15 && disconnects >= 4, `${all.length} events, ${disconnects} lost connections`)
})
