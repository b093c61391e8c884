// The event stream: fan-out in turn with a bare Node server that writes one shared buffer to as many sockets; what an idle reader
// costs; slow readers among good ones. READERS: how many (1,100,1000; up to 10000). ROUNDS: paired rounds of each (5).
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventReaders, EventServer, fanout } from './support/fanout.ts'
import { median } from './support/figures.ts'
import { compile } from './support/programs.ts'

const counts = (process.env.READERS ?? '1,100,1000').split(',').map(Number)
const rounds = Number(process.env.ROUNDS ?? 5)
const directory = await mkdtemp(join(tmpdir(), 'longshore-bench-'))
const program = await compile('event-readers', directory)

try {
  console.log('| readers | bare: deliveries/s | longshore: deliveries/s | rate, median of paired ratios | CPU for a delivery, bare | longshore |\n|---|---|---|---|---|---|')
  for (const count of counts) {
    const events = Math.max(50, Math.min(2000, Math.round(200_000 / count)))
    const { bare, longshore } = await fanout(program, directory, count, events, rounds)
    const ratio = median(longshore.rate.map((rate, index) => rate / (bare.rate[index] ?? NaN)))
    console.log(`| ${count} | ${Math.round(median(bare.rate))} | ${Math.round(median(longshore.rate))} | ${ratio.toFixed(2)} | ${median(bare.cpu).toFixed(2)} µs | ${median(longshore.cpu).toFixed(2)} µs |`)
  }

  const idle = new EventServer('longshore', directory)
  await idle.answer()
  const most = Math.max(...counts)
  // What the first ones need once is not counted.
  const first = new EventReaders(program, idle.path, Math.min(100, most))
  await first.line()
  const before = await idle.answer({ idle: true })
  const crowd = new EventReaders(program, idle.path, most)
  await crowd.line()
  const after = await idle.answer({ idle: true })
  console.log(`\nRSS for an idle reader, of ${most}: ${((after.rss - before.rss) / 1024 / most).toFixed(1)} KB`)
  for (const { child } of [first, crowd, idle]) child.kill()

  console.log('\n| 1,000 good readers, 200 events, one every 10 ms | p50 | p99 | longest hold of the loop |\n|---|---|---|---|')
  for (const slow of [0, 100, 0, 100]) {
    const server = new EventServer('longshore', directory)
    await server.answer()
    const readers = new EventReaders(program, server.path, 1000, slow)
    await readers.line()
    const taken = readers.expect(1000 * 200)
    const { delay } = await server.answer({ events: 200, pauseMs: 10 })
    const [, p50 = NaN, p99 = NaN] = await taken
    console.log(`| ${slow === 0 ? 'alone' : `with ${slow} that take nothing`} | ${(p50 / 1000).toFixed(2)} ms | ${(p99 / 1000).toFixed(2)} ms | ${Number(delay).toFixed(1)} ms |`)
    readers.child.kill()
    server.child.kill()
  }
} finally {
  await rm(directory, { recursive: true, force: true })
}
