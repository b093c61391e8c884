// From the start of a daemon that finds running containers to the moment when it is ready, after `kill -9` of the one before:
// with none, and with each of COUNTS (100,1000). ROUNDS: how many restarts of each (5).
import { Daemon } from '../test/support/daemon.ts'
import { cpuTime, median } from './support/figures.ts'

const rounds = Number(process.env.ROUNDS ?? 5)
const counts = (process.env.COUNTS ?? '100,1000').split(',').map(Number)
const atOnce = 8

const daemon = await Daemon.start(['--log-level', 'warn'])
try {
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '100000'])
  let made = 0
  let none = 0
  for (const count of [0, ...counts]) {
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (made < count) {
        const { status, text } = await daemon.post('/containers', { id: `c${made++}`, bundle })
        if (status !== 201) throw new Error(text)
      }
    }))
    const times: number[] = []
    const cpu: number[] = []
    for (let round = 0; round < rounds; round++) {
      await daemon.stop('SIGKILL')
      const began = performance.now()
      await daemon.launch(['--log-level', 'warn'])
      times.push(performance.now() - began)
      cpu.push(await cpuTime(daemon.pid))
    }
    const running = (await daemon.get('/containers?limit=1000&status=running')).body.items.length
    if (running !== count) throw new Error(`${running} of ${count} are running`)
    times.sort((one, other) => one - other)
    const middle = times[Math.floor(rounds / 2)] ?? NaN
    if (count === 0) none = middle
    console.log(`${String(count).padStart(5)} containers: ready after ${middle.toFixed(0)} ms (${times[0]?.toFixed(0) ?? ''} to ${times.at(-1)?.toFixed(0) ?? ''})${count === 0 ? '' : `, ${(middle - none).toFixed(0)} ms more than with none`}; ${median(cpu)} ms of CPU`)
  }
} finally {
  await daemon.destroy()
}
