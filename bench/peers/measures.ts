import { readFile } from 'node:fs/promises'
import { pss, type Engine } from '../engines/engine.ts'
import { rate, timed } from './statistics.ts'

/** the figures of one engine: for each of them, one value a round, so that rounds of two engines are paired */
export type Figures = Record<string, number[]>

export type Sizes = { lives: number, kills: number, signals: number, many: number }

let serial = 0
const fresh = (): string => `b${process.pid}-${serial++}`

function add (figures: Figures, name: string, value: number): void {
  (figures[name] ??= []).push(value)
}

async function mean (times: number, work: () => Promise<unknown>): Promise<number> {
  let sum = 0
  for (let i = 0; i < times; i++) sum += await timed(work)
  return sum / times
}

/** create, start, exit event and delete, each by itself; and the whole as a user would have it. ms. */
export async function lifecycle (engine: Engine, figures: Figures, { lives }: Sizes): Promise<void> {
  const phases = { create: 0, start: 0, 'start → exit event': 0, delete: 0 }
  for (let i = 0; i < lives; i++) {
    const id = fresh()
    phases.create += await timed(async () => await engine.create(id, 'true'))
    const exit = engine.exited(id)
    const began = performance.now()
    await engine.begin(id)
    phases.start += performance.now() - began
    await exit
    phases['start → exit event'] += performance.now() - began
    phases.delete += await timed(async () => await engine.remove(id))
  }
  for (const [name, sum] of Object.entries(phases)) add(figures, `${name}, ms`, sum / lives)
  const before = await busy()
  add(figures, 'life, ms', await mean(lives, async () => await life(engine)))
  add(figures, 'CPU of the machine for a life, ms', (await busy() - before) / lives)
}

async function life (engine: Engine): Promise<void> {
  const id = fresh()
  const exit = engine.exited(id)
  await engine.launch(id, 'true')
  await exit
  await engine.remove(id)
}

/** Milliseconds of CPU that the whole machine has spent (proc(5), /proc/stat, in hundredths of a second). */
async function busy (): Promise<number> {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (/^cpu +(.*)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1] ?? '').split(' ').map(Number)
  return (user + nice + system + irq + softirq) * 10
}

export async function throughput (engine: Engine, figures: Figures, { lives }: Sizes): Promise<void> {
  for (const width of [1, 4, 16]) add(figures, `lives a second, ${width} at once`, await rate(Math.max(lives, width * 2), width, async () => await life(engine)))
}

/** kill -9 of init to the exit event, ms: each kill is a value. */
export async function exit (engine: Engine, figures: Figures, { kills }: Sizes): Promise<void> {
  const values: number[] = []
  for (let i = 0; i < kills; i++) {
    const id = fresh()
    const told = engine.exited(id)
    await engine.launch(id, 'sleep')
    const pid = await engine.pid(id)
    values.push(await timed(async () => {
      process.kill(pid, 'SIGKILL')
      await told
    }))
    await engine.remove(id)
  }
  values.sort((a, b) => a - b)
  add(figures, 'kill → exit event, ms p50', values[Math.floor(values.length / 2)] ?? NaN)
  add(figures, 'kill → exit event, ms max', values.at(-1) ?? NaN)
}

export async function signal (engine: Engine, figures: Figures, { signals }: Sizes): Promise<void> {
  const id = fresh()
  const exited = engine.exited(id)
  await engine.launch(id, 'sleep')
  const values: number[] = []
  for (let i = 0; i < signals; i++) values.push(await timed(async () => await engine.signal(id)))
  values.sort((a, b) => a - b)
  add(figures, 'signal, ms p50', values[Math.floor(values.length / 2)] ?? NaN)
  for (const width of [1, 4, 16]) add(figures, `signals a second, ${width} at once`, await rate(signals * width, width, async () => await engine.signal(id)))
  await end(engine, id, exited)
}

async function end (engine: Engine, id: string, exited: Promise<void>): Promise<void> {
  const pid = await engine.pid(id)
  process.kill(pid, 'SIGKILL')
  await exited
  await engine.remove(id)
}

async function weight (engine: Engine): Promise<number> {
  let sum = 0
  for (const pid of await engine.processes()) sum += await pss(pid)
  return sum
}

/** The PSS of daemon and helpers, idle and for each running container; and how a killed daemon comes back to them. */
export async function memory (engine: Engine, figures: Figures, { many }: Sizes): Promise<void> {
  const idle = await weight(engine)
  add(figures, 'idle, PSS MiB', idle / 1024)
  const running = await fill(engine, many)
  add(figures, `for each of ${many} running, PSS KiB`, (await weight(engine) - idle) / many)
  // The figures again with them running: what the others cost.
  add(figures, `life beside ${many} running, ms`, await mean(5, async () => await life(engine)))
  if (engine.restart !== undefined) add(figures, `kill -9 of the daemon → back, ${many} running, ms`, await timed(engine.restart))
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let id = running.pop(); id !== undefined; id = running.pop()) await engine.remove(id)
  }))
}

async function fill (engine: Engine, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, fresh)
  const left = [...ids]
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) await engine.launch(id, 'sleep')
  }))
  return ids
}

/** One exit to 100 readers of events: ms until the first, the middle and the last of them has it. */
export async function fanout (engine: Engine, figures: Figures, { kills }: Sizes): Promise<void> {
  const { listen } = engine
  if (listen === undefined) return
  const readers = await Promise.all(Array.from({ length: 100 }, async () => await listen()))
  const middles: number[] = []
  const lasts: number[] = []
  for (let i = 0; i < kills; i++) {
    const id = fresh()
    const own = engine.exited(id)
    await engine.launch(id, 'sleep')
    const pid = await engine.pid(id)
    const began = performance.now()
    const times = readers.map(async (reader) => { await reader.exited(id); return performance.now() - began })
    process.kill(pid, 'SIGKILL')
    const sorted = (await Promise.all(times)).sort((a, b) => a - b)
    middles.push(sorted[50] ?? NaN)
    lasts.push(sorted[99] ?? NaN)
    await own
    await engine.remove(id)
  }
  for (const reader of readers) reader.close()
  middles.sort((a, b) => a - b)
  lasts.sort((a, b) => a - b)
  add(figures, 'kill → middle of 100 readers, ms', middles[Math.floor(middles.length / 2)] ?? NaN)
  add(figures, 'kill → last of 100 readers, ms', lasts[Math.floor(lasts.length / 2)] ?? NaN)
}

export const measures = { lifecycle, throughput, exit, signal, fanout, memory }
