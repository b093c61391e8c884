// The main job against its floor: lifecycles one after another, in turn with bare `runc create; start; delete` on the same
// bundle; death of a process to bytes at an SSE reader; signals; memory of the shims. ROUNDS: how many of each (100).
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Daemon } from '../test/support/daemon.ts'

const run = promisify(execFile)
const rounds = Number(process.env.ROUNDS ?? 100)
const daemon = await Daemon.start(['--log-level', 'warn'])

function quantile (sorted: number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN
}

function tell (name: string, values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  console.log(`${name.padEnd(44)} p50 ${quantile(sorted, 0.5).toFixed(2)} ms  p99 ${quantile(sorted, 0.99).toFixed(2)} ms  (${values.length})`)
  return quantile(sorted, 0.5)
}

async function timed (work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

const bareRoot = join(daemon.directory, 'bare')

/** With its output nowhere, since init inherits it and would hold a pipe open. */
async function runc (...args: string[]): Promise<number | null> {
  const child = spawn('runc', ['--root', bareRoot, ...args], { stdio: 'ignore' })
  const [code] = await once(child, 'exit') as [number | null]
  return code
}

try {
  const bundle = await daemon.bundle('true', ['/bin/true'])
  const events = await daemon.events('from=now&type=StateExit')
  const bare = async (i: number): Promise<void> => {
    const id = `bare-${process.pid}-${i}`
    if (await runc('create', '--bundle', bundle, id) !== 0 || await runc('start', id) !== 0) throw new Error('bare runc failed')
    // delete refuses until the process has ended, which is nearly always so by now
    while (await runc('delete', id) !== 0);
  }
  const ours = async (i: number): Promise<void> => {
    const id = `ours-${i}`
    const exit = events.type('StateExit', id)
    await daemon.post('/containers', { id, bundle })
    await exit
    await daemon.delete(`/containers/${id}`)
  }
  await bare(-1)
  await ours(-1)
  const bareTimes: number[] = []
  const ourTimes: number[] = []
  for (let i = 0; i < rounds; i++) {
    bareTimes.push(await timed(async () => await bare(i)))
    ourTimes.push(await timed(async () => await ours(i)))
  }
  const floor = tell('bare runc create; start; delete', bareTimes)
  const median = tell('longshore create+start, exit event, delete', ourTimes)
  const ratios = ourTimes.map((time, i) => time / (bareTimes[i] ?? NaN)).sort((a, b) => a - b)
  console.log(`ratio of medians ${(median / floor).toFixed(2)}, median of paired ratios ${quantile(ratios, 0.5).toFixed(2)}`)

  const sleeper = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const latencies: number[] = []
  for (let i = 0; i < rounds; i++) {
    const { body } = await daemon.post('/containers', { id: `kill-${i}`, bundle: sleeper })
    const exit = events.type('StateExit', `kill-${i}`)
    latencies.push(await timed(async () => {
      process.kill(body.pid, 'SIGKILL')
      await exit
    }))
    await daemon.delete(`/containers/kill-${i}`)
  }
  tell('kill -9 of init → StateExit at an SSE reader', latencies)

  await daemon.post('/containers', { id: 'signalled', bundle: sleeper })
  const signals: number[] = []
  for (let i = 0; i < rounds * 10; i++) signals.push(await timed(async () => await daemon.post('/containers/signalled/signal', { signal: 0 })))
  tell('signal 0 over a kept-alive unix socket', signals)

  for (let i = 1; i < 20; i++) await daemon.post('/containers', { id: `many-${i}`, bundle: sleeper })
  const pss = async (pid: number): Promise<number> => Number(/^Pss:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
  const shims = await Promise.all((await daemon.shims()).map(pss))
  console.log(`PSS of a shim with ${shims.length} running: ${(shims.reduce((sum, value) => sum + value, 0) / shims.length).toFixed(1)} KiB; of the daemon: ${((await pss(daemon.pid)) / 1024).toFixed(1)} MiB`)
  console.log((await run('runc', ['--version'])).stdout.split('\n')[0], process.version)
  events.close()
} finally {
  await daemon.destroy()
}
