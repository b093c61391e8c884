/**
 * A signal over HTTP against its floor, the same framework that answers an empty 204 (promise: at least 0.8 × its rate).
 * Both in turn, over kept-alive connections to a unix socket; CPU is that of the server's process for each request.
 * ROUNDS: pairs (5); DURATION: of one (2); CONNECTIONS (8).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { Daemon } from '../test/support/daemon.ts'
import { cpuTime, median, timed } from './support/figures.ts'

const rounds = Number(process.env.ROUNDS ?? 5)
const seconds = Number(process.env.DURATION ?? 2)
const connections = Number(process.env.CONNECTIONS ?? 8)

const daemon = await Daemon.start(['--log-level', 'warn'])
const bareSocket = join(daemon.directory, 'bare.sock')
const bare = spawn(process.execPath, [join(import.meta.dirname, 'support/bare-fastify.ts'), bareSocket], { stdio: ['ignore', 'pipe', 'inherit'] })

type Load = { rate: number, cpu: number }
async function load (socketPath: string, pid: number): Promise<Load> {
  const before = await cpuTime(pid)
  const result = await autocannon({
    url: 'http://localhost/containers/signalled/signal', socketPath, method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"signal":0}', connections, duration: seconds
  })
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${result.non2xx} answers were no success, ${result.errors} errors`)
  const { total } = result.requests
  return { rate: total / result.duration, cpu: (await cpuTime(pid) - before) / total * 1000 }
}

try {
  await once(bare.stdout, 'data')
  await daemon.post('/containers', { id: 'signalled', bundle: await daemon.bundle('sleep', ['/bin/sleep', '1000']) })
  const floor: Load[] = []
  const ours: Load[] = []
  for (let round = 0; round < rounds + 1; round++) {
    const pair = [await load(bareSocket, bare.pid ?? 0), await load(daemon.socket, daemon.pid)] as const
    // The first warms both up.
    if (round === 0) continue
    floor.push(pair[0])
    ours.push(pair[1])
  }
  const tell = (name: string, loads: Load[]): void => console.log(`${name.padEnd(16)} ${median(loads.map(({ rate }) => rate)).toFixed(0)} requests/s, ${median(loads.map(({ cpu }) => cpu)).toFixed(0)} µs of CPU each`)
  tell('bare Fastify', floor)
  tell('longshore signal', ours)
  console.log(`median of paired ratios: rate ${median(ours.map(({ rate }, i) => rate / (floor[i]?.rate ?? NaN))).toFixed(2)}, CPU ${median(ours.map(({ cpu }, i) => cpu / (floor[i]?.cpu ?? NaN))).toFixed(2)}`)
  const alone: number[] = []
  for (let i = 0; i < 1000; i++) alone.push(await timed(async () => await daemon.post('/containers/signalled/signal', { signal: 0 })))
  console.log(`one after another: p50 ${median(alone).toFixed(3)} ms`)
} finally {
  bare.kill('SIGTERM')
  await daemon.destroy()
}
