/**
 * Two trees against each other: node bench/compare.ts OTHER_TREE [THIS_TREE], both built. Everything is done in turn, so that
 * what else the machine does touches both. CPU time is that of the daemon, its shims, and the runtimes and inits that they
 * reaped: the figure to look at on a busy machine. ROUNDS: lifecycles of each (60). `scripts/compare.sh COMMIT` builds the other one.
 */
import { join, resolve } from 'node:path'
import { Daemon, project, type EventReader } from '../test/support/daemon.ts'
import { cpuTime, median, memory, timed } from './support/figures.ts'

const rounds = Number(process.env.ROUNDS ?? 60)
const starts = Number(process.env.STARTS ?? 7)
const blocks = 6
const trees = [resolve(process.argv[2] ?? ''), resolve(process.argv[3] ?? project)]

class Side {
  readonly tree: string
  daemon: Daemon
  events: EventReader | undefined
  readonly ready: number[] = []
  readonly readyCpu: number[] = []
  readonly wall: number[] = []
  readonly cpu: number[] = []
  readonly signal: number[] = []
  readonly signalCpu: number[] = []
  readonly kill: number[] = []
  bundle = ''
  sleeper = ''
  made = 0

  constructor (tree: string, daemon: Daemon) {
    this.tree = tree
    this.daemon = daemon
    daemon.program = join(tree, 'bin/longshored')
  }

  async start (): Promise<void> {
    this.ready.push(await timed(async () => await this.daemon.launch(['--log-level', 'warn'])))
    this.readyCpu.push(await cpuTime(this.daemon.pid))
  }

  async lifecycle (): Promise<void> {
    const id = `life-${this.made++}`
    const exit = this.events?.type('StateExit', id)
    const created = await this.daemon.post('/containers', { id, bundle: this.bundle })
    if (created.status !== 201) throw new Error(created.text)
    await exit
    const gone = await this.daemon.delete(`/containers/${id}`)
    if (gone.status !== 204) throw new Error(gone.text)
  }
}

const sides = await Promise.all(trees.map(async (tree) => new Side(tree, await Daemon.prepare())))
const rows: [string, (side: Side) => number][] = []
const row = (name: string, value: (side: Side) => number): void => { rows.push([name, value]) }

try {
  for (let round = 0; round < starts; round++) {
    for (const side of sides) {
      if (round > 0) await side.daemon.stop()
      await side.start()
    }
  }
  row('start to ready, ms', ({ ready }) => median(ready))
  row('CPU until ready, ms', ({ readyCpu }) => median(readyCpu))
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const idle = new Map(await Promise.all(sides.map(async (side) => [side, [await memory(side.daemon.pid), await memory(side.daemon.pid, 'Pss_Anon')]] as const)))
  row('PSS at rest, MiB', (side) => (idle.get(side)?.[0] ?? NaN) / 1024)
  row('  of it anonymous, MiB', (side) => (idle.get(side)?.[1] ?? NaN) / 1024)

  for (const side of sides) {
    side.bundle = await side.daemon.bundle('true', ['/bin/true'])
    side.sleeper = await side.daemon.bundle('sleep', ['/bin/sleep', '1000'])
    side.events = await side.daemon.events('from=now&type=StateExit')
    for (let i = 0; i < 5; i++) await side.lifecycle()
  }
  for (let block = 0; block < blocks; block++) {
    for (const side of sides) {
      const before = await cpuTime(side.daemon.pid)
      const count = Math.ceil(rounds / blocks)
      for (let i = 0; i < count; i++) side.wall.push(await timed(async () => await side.lifecycle()))
      side.cpu.push((await cpuTime(side.daemon.pid) - before) / count)
    }
  }
  row('lifecycle, ms', ({ wall }) => median(wall))
  row('lifecycle, ms of CPU', ({ cpu }) => median(cpu))

  for (const side of sides) await side.daemon.post('/containers', { id: 'signalled', bundle: side.sleeper })
  for (let block = 0; block < blocks; block++) {
    for (const side of sides) {
      const before = await cpuTime(side.daemon.pid)
      const count = 300
      for (let i = 0; i < count; i++) side.signal.push(await timed(async () => await side.daemon.post('/containers/signalled/signal', { signal: 0 })))
      side.signalCpu.push((await cpuTime(side.daemon.pid) - before) / count * 1000)
    }
  }
  row('signal, ms', ({ signal }) => median(signal))
  row('signal, µs of CPU', ({ signalCpu }) => median(signalCpu))

  const grown = new Map<Side, [number, number]>()
  for (const side of sides) {
    for (let i = 0; i < 10; i++) await side.daemon.post('/containers', { id: `first-${i}`, bundle: side.sleeper })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    const before = await memory(side.daemon.pid)
    for (let i = 0; i < 50; i++) await side.daemon.post('/containers', { id: `many-${i}`, bundle: side.sleeper })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    const shims = await Promise.all((await side.daemon.shims()).map(async (pid) => await memory(pid)))
    grown.set(side, [(await memory(side.daemon.pid) - before) / 50, shims.reduce((sum, value) => sum + value, 0) / shims.length])
    await Promise.all((await side.daemon.get('/containers?limit=1000')).body.items.map(async ({ id }: { id: string }) => await side.daemon.delete(`/containers/${id}?force=true`)))
  }
  row('growth of the daemon for each of 50 running, KiB', (side) => grown.get(side)?.[0] ?? NaN)
  row('a shim, KiB', (side) => grown.get(side)?.[1] ?? NaN)

  const [other, own] = sides
  if (other === undefined || own === undefined) throw new Error('two trees are to be named')
  console.log(`| | ${other.tree} | ${own.tree} | ratio |\n|---|---|---|---|`)
  for (const [name, value] of rows) console.log(`| ${name} | ${value(other).toFixed(2)} | ${value(own).toFixed(2)} | ${(value(own) / value(other)).toFixed(2)} |`)
} finally {
  for (const side of sides) {
    side.events?.close()
    await side.daemon.destroy()
  }
}
