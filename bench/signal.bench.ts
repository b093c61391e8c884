/**
 * A signal over HTTP against its floor, the same framework that answers an empty 204 (promise: at least 0.8 × its rate), and against
 * that framework once it says which request it answers and looks at what comes in, as the daemon has to. All in turn, over kept-alive
 * connections to a unix socket; CPU is that of the server's process for each request.
 * ROUNDS (5); DURATION: seconds of one (1); CONNECTIONS (1,4,16).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { Daemon } from '../test/support/daemon.ts'
import { cpuTime, median, timed } from './support/figures.ts'

const rounds = Number(process.env.ROUNDS ?? 5)
const seconds = Number(process.env.DURATION ?? 1)
const connections = (process.env.CONNECTIONS ?? '1,4,16').split(',').map(Number)

const daemon = await Daemon.start(['--log-level', 'warn'])
const floor = (name: string, ...args: string[]): { name: string, socket: string, child: ChildProcess } => {
  const socket = join(daemon.directory, `${name.replaceAll(' ', '-')}.sock`)
  return { name, socket, child: spawn(process.execPath, [join(import.meta.dirname, 'support/bare-fastify.ts'), socket, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }) }
}
const floors = [floor('bare Fastify'), floor('checking Fastify', 'checking')]

type Load = { rate: number, cpu: number }
async function load ({ socket, pid }: { socket: string, pid: number }, width: number): Promise<Load> {
  const before = await cpuTime(pid)
  const result = await autocannon({
    url: 'http://localhost/containers/signalled/signal', socketPath: socket, method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"signal":0}', connections: width, duration: seconds
  })
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${result.non2xx} answers were no success, ${result.errors} errors`)
  const { total } = result.requests
  return { rate: total / result.duration, cpu: (await cpuTime(pid) - before) / total * 1000 }
}

try {
  for (const { child } of floors) await once(child.stdout as NodeJS.EventEmitter, 'data')
  await daemon.post('/containers', { id: 'signalled', bundle: await daemon.bundle('sleep', ['/bin/sleep', '1000']) })
  const servers = [...floors.map(({ name, socket, child }) => ({ name, socket, pid: child.pid ?? 0 })), { name: 'longshore signal', socket: daemon.socket, pid: daemon.pid }]
  for (const width of connections) {
    const loads = servers.map((): Load[] => [])
    for (let round = 0; round < rounds + 1; round++) {
      for (const [index, server] of servers.entries()) {
        const one = await load(server, width)
        // The first warms all up.
        if (round > 0) loads[index]?.push(one)
      }
    }
    console.log(`\n${width} connection${width === 1 ? '' : 's'}; the ratios are medians of pairs with the first`)
    for (const [index, { name }] of servers.entries()) {
      const mine = loads[index] ?? []
      const beside = (of: (load: Load) => number): string => median(mine.map((load, round) => of(load) / of(loads[0]?.[round] ?? load))).toFixed(2)
      console.log(`${name.padEnd(16)} ${median(mine.map(({ rate }) => rate)).toFixed(0).padStart(6)} requests/s (${beside(({ rate }) => rate)} ×), ${median(mine.map(({ cpu }) => cpu)).toFixed(1)} µs of CPU each (${beside(({ cpu }) => cpu)} ×)`)
    }
  }
  const alone: number[] = []
  for (let i = 0; i < 1000; i++) alone.push(await timed(async () => await daemon.post('/containers/signalled/signal', { signal: 0 })))
  console.log(`one after another: p50 ${median(alone).toFixed(3)} ms`)
} finally {
  for (const { child } of floors) child.kill('SIGTERM')
  await daemon.destroy()
}
