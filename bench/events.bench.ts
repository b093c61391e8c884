// The event stream: fan-out in turn with a bare Node server that writes one shared buffer to as many sockets; what an idle reader
// costs; slow readers among good ones; a replay of the whole journal. READERS: how many (1,100,1000,10000); ROUNDS: paired rounds of
// each (5); EVENTS: of the replay (1000000). It ends by itself, at the latest after MINUTES (15).
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { EventReaders, EventServer, fanout } from './support/fanout.ts'
import { median } from './support/figures.ts'
import { compile } from './support/programs.ts'

const counts = (process.env.READERS ?? '1,100,1000,10000').split(',').map(Number)
const rounds = Number(process.env.ROUNDS ?? 5)
const events = Number(process.env.EVENTS ?? 1_000_000)
const minutes = Number(process.env.MINUTES ?? 15)
/** seconds of silence, in which each reader gets its heartbeats */
const silence = 31
const directory = await mkdtemp(join(tmpdir(), 'longshore-bench-'))
const program = await compile('event-readers', directory)

// Servers end when this process does, readers when their servers do.
setTimeout(() => {
  console.error(`not done after ${minutes} minutes`)
  rmSync(directory, { recursive: true, force: true })
  process.exit(1)
}, minutes * 60_000).unref()

const started: { end: () => unknown }[] = []
function keep<T extends { end: () => unknown }> (one: T): T {
  started.push(one)
  return one
}
async function serve (): Promise<EventServer> {
  const server = keep(new EventServer('longshore', directory))
  await server.answer()
  return server
}
async function connect (server: EventServer, count: number, slow = 0): Promise<EventReaders> {
  const readers = keep(new EventReaders(program, server.path, count, slow))
  await readers.line()
  return readers
}
async function endAll (): Promise<void> {
  await Promise.all(started.splice(0).reverse().map(async (one) => await one.end()))
}

async function beside (): Promise<void> {
  console.log('| readers | bare: deliveries/s | longshore: deliveries/s | rate, median of paired ratios | CPU for a delivery, bare | longshore |\n|---|---|---|---|---|---|')
  for (const count of counts) {
    // Enough of them that the code of both is compiled before it is measured.
    const many = Math.max(30, Math.min(20_000, Math.round(200_000 / count)))
    const { bare, longshore } = await fanout(program, directory, count, many, rounds)
    const ratio = median(longshore.rate.map((rate, index) => rate / (bare.rate[index] ?? NaN)))
    console.log(`| ${count} | ${Math.round(median(bare.rate))} | ${Math.round(median(longshore.rate))} | ${ratio.toFixed(2)} | ${median(bare.cpu).toFixed(2)} µs | ${median(longshore.cpu).toFixed(2)} µs |`)
  }
}

/** What an event costs with nobody to read it: the journal's part of a delivery to one. */
async function unread (): Promise<void> {
  const server = await serve()
  const cpu: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const told = await server.answer({ events: 20_000 })
    if (round > 0) cpu.push(told.cpu / 20_000)
  }
  console.log(`\nAn event with no reader: ${median(cpu).toFixed(2)} µs of CPU, on its way to disk`)
}

async function idle (count: number): Promise<void> {
  const server = await serve()
  // What the first ones need once is not counted.
  await connect(server, Math.min(100, count))
  const alone = await quiet(server)
  const before = await server.answer({ look: 'rss' })
  await connect(server, count)
  const after = await server.answer({ look: 'rss' })
  const crowded = await quiet(server)
  console.log(`\nAn idle reader, of ${count}: ${((after.rss - before.rss) / 1024 / count).toFixed(1)} KB of RSS, ${((crowded - alone) / count).toFixed(2)} µs of CPU a second with its heartbeats`)
}

/** Microseconds of CPU a second with nothing to tell. */
async function quiet (server: EventServer): Promise<number> {
  const { cpu } = await server.answer({ look: 'used' })
  await new Promise((resolve) => setTimeout(resolve, silence * 1000))
  return ((await server.answer({ look: 'used' })).cpu - cpu) / silence
}

/** Both in turn, so that what else the machine does meets both. */
async function slowAmongGood (): Promise<void> {
  const servers = [await serve(), await serve()]
  const readers = await Promise.all(servers.map(async (server, index) => await connect(server, 1000, index * 100)))
  const results = servers.map(() => ({ p50: [] as number[], p99: [] as number[], hold: [] as number[] }))
  for (let round = 0; round <= rounds; round++) {
    for (const [index, server] of servers.entries()) {
      const taken = readers[index]?.expect(1000 * 100)
      const { delay } = await server.answer({ events: 100, pauseMs: 10 })
      const [, p50 = NaN, p99 = NaN] = await taken ?? []
      if (round === 0) continue
      results[index]?.p50.push(p50 / 1000)
      results[index]?.p99.push(p99 / 1000)
      results[index]?.hold.push(delay)
    }
  }
  console.log('\n| 1,000 good readers, an event every 10 ms | p50 | p99 | longest hold of the loop |\n|---|---|---|---|')
  for (const [index, { p50, p99, hold }] of results.entries()) {
    console.log(`| ${index === 0 ? 'alone' : 'with 100 that take nothing'} | ${median(p50).toFixed(2)} ms | ${median(p99).toFixed(2)} ms | ${median(hold).toFixed(1)} ms |`)
  }
  const [alone, mixed] = results
  console.log(`p99 with slow readers ÷ without, median of ${rounds} pairs: ${median((mixed?.p99 ?? []).map((value, index) => value / (alone?.p99[index] ?? NaN))).toFixed(2)}`)
}

async function replay (): Promise<void> {
  const server = await serve()
  const began = performance.now()
  await server.answer({ fill: events })
  const filled = (performance.now() - began) / 1000
  const before = await server.answer({ look: 'used' })
  const { stdout } = await promisify(execFile)('curl', ['-sN', '--max-time', '600', '--unix-socket', server.path, '-H', 'Accept: text/event-stream', '-o', '/dev/null', '-w', '%{http_code} %{size_download} %{time_total}', 'http://localhost/events?from=earliest&follow=false'])
  const after = await server.answer({ look: 'used' })
  const [status, bytes = NaN, seconds = NaN] = stdout.split(' ').map(Number)
  if (status !== 200) throw new Error(`the replay was answered with ${status}`)
  console.log(`\nReplay of ${events} events (${(bytes / 1e6).toFixed(0)} MB) to one reader: ${Math.round(events / seconds)} events/s, ${(bytes / 1e6 / seconds).toFixed(0)} MB/s, ${((after.cpu - before.cpu) / events).toFixed(1)} µs of CPU each; longest hold of the loop ${after.delay.toFixed(1)} ms. They were appended at ${Math.round(events / filled)}/s`)
}

try {
  await beside()
  for (const part of [unread, async () => await idle(Math.max(...counts)), slowAmongGood, replay]) {
    await part()
    await endAll()
  }
} finally {
  await endAll()
  await rm(directory, { recursive: true, force: true })
}
