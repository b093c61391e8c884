import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { LineProgram } from './programs.ts'

export type Kind = 'bare' | 'longshore'

/** A process that publishes events when it is told to (event-server.ts). */
export class EventServer {
  readonly path: string
  readonly child: ChildProcess

  constructor (kind: Kind, directory: string) {
    this.path = join(directory, `${kind}-${Math.random().toString(36).slice(2)}.sock`)
    this.child = fork(join(import.meta.dirname, 'event-server.ts'), [kind, this.path], { execArgv: ['--expose-gc'], env: { ...process.env, TMPDIR: directory } })
  }

  /** Resolves when it has ended, and what it wrote has gone. */
  async end (): Promise<void> {
    if (!this.child.connected) return
    const ended = once(this.child, 'exit')
    this.child.disconnect()
    await ended
  }

  async answer (command?: object): Promise<any> { // any: what event-server.ts answers
    const answer = once(this.child, 'message')
    if (command !== undefined) this.child.send(command)
    return (await answer)[0]
  }
}

/** So many readers on connections of their own, in a process of theirs (event-readers.c, compiled to `program`). */
export class EventReaders extends LineProgram {
  constructor (program: string, path: string, count: number, slow = 0) {
    super(program, [path, String(count), String(slow), 'from=now'])
  }

  /** Milliseconds until they have so many events in all, and the p50 and p99 of their latency in microseconds. */
  async expect (events: number): Promise<number[]> {
    this.say(String(events))
    return (await this.line()).split(' ').slice(1).map(Number)
  }
}

export type Deliveries = { rate: number[], cpu: number[] }

/**
 * Deliveries a second, and microseconds of CPU for each, of `count` readers in turn with a bare Node server that writes one shared
 * buffer to as many sockets. The first round is not counted.
 */
export async function fanout (program: string, directory: string, count: number, events: number, rounds: number): Promise<Record<Kind, Deliveries>> {
  const kinds = ['bare', 'longshore'] as const
  const results: Record<Kind, Deliveries> = { bare: { rate: [], cpu: [] }, longshore: { rate: [], cpu: [] } }
  const servers = { bare: new EventServer('bare', directory), longshore: new EventServer('longshore', directory) }
  const readers: EventReaders[] = []
  try {
    await Promise.all([servers.bare.answer(), servers.longshore.answer()])
    const open = { bare: new EventReaders(program, servers.bare.path, count), longshore: new EventReaders(program, servers.longshore.path, count) }
    readers.push(open.bare, open.longshore)
    for (const kind of kinds) await open[kind].line()
    for (let round = 0; round <= rounds; round++) {
      for (const kind of kinds) {
        const before = await servers[kind].answer({ look: 'used' })
        const taken = open[kind].expect(events * count)
        const told = servers[kind].answer({ events })
        const [ms = NaN] = await taken
        await told
        // All of it is written by now, also what was left for later turns of the loop.
        const cpu = (await servers[kind].answer({ look: 'used' })).cpu - before.cpu
        if (round === 0) continue
        results[kind].rate.push(events * count / ms * 1000)
        results[kind].cpu.push(cpu / events / count)
      }
    }
  } finally {
    for (const one of readers) one.end()
    for (const kind of kinds) await servers[kind].end()
  }
  return results
}
