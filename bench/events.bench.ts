// The event stream: fan-out in turn with a bare Node server that writes one shared buffer to as many sockets; what an idle reader
// costs; slow readers among good ones. READERS: how many (1,100,1000; up to 10000). ROUNDS: paired rounds of each (5).
import { execFile, fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { median } from './support/figures.ts'

const counts = (process.env.READERS ?? '1,100,1000').split(',').map(Number)
const rounds = Number(process.env.ROUNDS ?? 5)
const directory = await mkdtemp(join(tmpdir(), 'longshore-bench-'))
const program = join(directory, 'event-readers')
await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-o', program, join(import.meta.dirname, 'support/event-readers.c')])

class Server {
  readonly path: string
  readonly child: ChildProcess

  constructor (kind: 'bare' | 'longshore') {
    this.path = join(directory, `${kind}-${Math.random().toString(36).slice(2)}.sock`)
    this.child = fork(join(import.meta.dirname, 'support/event-server.ts'), [kind, this.path], { execArgv: ['--expose-gc'] })
  }

  async answer (command?: object): Promise<any> { // any: what event-server.ts answers
    const answer = once(this.child, 'message')
    if (command !== undefined) this.child.send(command)
    return (await answer)[0]
  }
}

class Readers {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor (path: string, count: number, slow = 0) {
    this.child = spawn(program, [path, String(count), String(slow), 'from=now'], { stdio: ['pipe', 'pipe', 'inherit'] })
    if (this.child.stdout === null) throw new Error('no output')
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]()
  }

  async line (): Promise<string> {
    const { value, done } = await this.#lines.next() as IteratorResult<string>
    if (done === true) throw new Error('the readers ended')
    return value
  }

  /** Milliseconds until they have so many events in all, and the p50 and p99 of their latency in microseconds. */
  async expect (events: number): Promise<number[]> {
    this.child.stdin?.write(`${events}\n`)
    return (await this.line()).split(' ').slice(1).map(Number)
  }
}

try {
  console.log('| readers | bare: deliveries/s | longshore: deliveries/s | rate, median of paired ratios | CPU for a delivery, bare | longshore |\n|---|---|---|---|---|---|')
  for (const count of counts) {
    const events = Math.max(50, Math.min(2000, Math.round(200_000 / count)))
    const results: Record<'bare' | 'longshore', { rate: number[], cpu: number[] }> = { bare: { rate: [], cpu: [] }, longshore: { rate: [], cpu: [] } }
    const servers = { bare: new Server('bare'), longshore: new Server('longshore') }
    await Promise.all([servers.bare.answer(), servers.longshore.answer()])
    const readers = { bare: new Readers(servers.bare.path, count), longshore: new Readers(servers.longshore.path, count) }
    for (const kind of ['bare', 'longshore'] as const) await readers[kind].line()
    for (let round = 0; round <= rounds; round++) {
      for (const kind of ['bare', 'longshore'] as const) {
        const taken = readers[kind].expect(events * count)
        const told = servers[kind].answer({ events })
        const [ms = NaN] = await taken
        const { cpu } = await told
        // The first round warms up.
        if (round === 0) continue
        results[kind].rate.push(events * count / ms * 1000)
        results[kind].cpu.push(cpu / events / count)
      }
    }
    const { bare, longshore } = results
    const ratio = median(longshore.rate.map((rate, index) => rate / (bare.rate[index] ?? NaN)))
    console.log(`| ${count} | ${Math.round(median(bare.rate))} | ${Math.round(median(longshore.rate))} | ${ratio.toFixed(2)} | ${median(bare.cpu).toFixed(2)} µs | ${median(longshore.cpu).toFixed(2)} µs |`)
    for (const kind of ['bare', 'longshore'] as const) {
      readers[kind].child.kill()
      servers[kind].child.kill()
    }
  }

  const idle = new Server('longshore')
  await idle.answer()
  const most = Math.max(...counts)
  // What the first ones need once is not counted.
  const first = new Readers(idle.path, Math.min(100, most))
  await first.line()
  const before = await idle.answer({ idle: true })
  const crowd = new Readers(idle.path, most)
  await crowd.line()
  const after = await idle.answer({ idle: true })
  console.log(`\nRSS for an idle reader, of ${most}: ${((after.rss - before.rss) / 1024 / most).toFixed(1)} KB`)
  for (const { child } of [first, crowd, idle]) child.kill()

  console.log('\n| 1,000 good readers, 200 events, one every 10 ms | p50 | p99 | longest hold of the loop |\n|---|---|---|---|')
  for (const slow of [0, 100, 0, 100]) {
    const server = new Server('longshore')
    await server.answer()
    const readers = new Readers(server.path, 1000, slow)
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
