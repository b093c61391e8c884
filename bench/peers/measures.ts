import type { Engine } from '../engines/engine.ts'
import { machineCpu, pss } from '../engines/processes.ts'
import { cpuTime, samples, timed } from '../support/figures.ts'
import { add, type Figures } from './figures.ts'
import { load } from './load.ts'

export type Sizes = {
  lives: number
  kills: number
  signals: number
  /** numbers of running containers beside which all is measured again, growing */
  many: number[]
  /** seconds that an engine has to start all of those */
  fill: number
}

let serial = 0
export const prefix = `b${process.pid}-`
const fresh = (): string => `${prefix}${serial++}`
const pause = async (seconds: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, seconds * 1000))

async function life (engine: Engine): Promise<void> {
  const id = fresh()
  const exit = engine.exited(id)
  await engine.launch(id, 'true')
  await exit
  await engine.remove(id)
}

/** The whole as a user would have it, and its CPU; then create, start, exit event and delete each by itself. ms. */
async function lifecycle (engine: Engine, figures: Figures, { lives }: Sizes): Promise<void> {
  const before = await machineCpu()
  const times = await samples(lives, Infinity, async () => await life(engine))
  add(figures, 'lifeCpu', (await machineCpu() - before) / lives)
  add(figures, 'life', times)
  const phases = { create: [] as number[], start: [] as number[], startToExit: [] as number[], remove: [] as number[] }
  for (let i = 0; i < Math.ceil(lives / 2); i++) {
    const id = fresh()
    phases.create.push(await timed(async () => await engine.create(id, 'true')))
    const exit = engine.exited(id)
    const began = performance.now()
    await engine.begin(id)
    phases.start.push(performance.now() - began)
    await exit
    phases.startToExit.push(performance.now() - began)
    phases.remove.push(await timed(async () => await engine.remove(id)))
  }
  for (const [key, values] of Object.entries(phases)) add(figures, key, values)
}

/** Lives a second with so many at a time; none of them is cut off. */
async function throughput (engine: Engine, figures: Figures, { lives }: Sizes): Promise<void> {
  for (const width of [1, 4, 16]) {
    let left = Math.max(lives, 2 * width)
    const count = left
    const seconds = await timed(async () => await Promise.all(Array.from({ length: width }, async () => {
      while (left-- > 0) await life(engine)
    }))) / 1000
    add(figures, `lives${width}`, count / seconds)
  }
}

/** kill -9 of init to the exit event, ms. */
async function killed (engine: Engine, count: number, seconds = Infinity): Promise<number[]> {
  const values: number[] = []
  await samples(count, seconds, async () => {
    const id = fresh()
    const told = engine.exited(id)
    await engine.launch(id, 'sleep')
    const pid = await engine.pid(id)
    values.push(await timed(async () => {
      process.kill(pid, 'SIGKILL')
      await told
    }))
    await engine.remove(id)
  })
  return values
}

async function exit (engine: Engine, figures: Figures, { kills }: Sizes): Promise<void> {
  add(figures, 'exit', await killed(engine, kills))
}

/** Works on a container that runs, and ends it. */
async function withOne (engine: Engine, work: (id: string) => Promise<void>): Promise<void> {
  const id = fresh()
  const exited = engine.exited(id)
  await engine.launch(id, 'sleep')
  await work(id)
  process.kill(await engine.pid(id), 'SIGKILL')
  await exited
  await engine.remove(id)
}

/** One after another from this process; then over 8 connections for a second, with the CPU that each cost the one who answers. */
async function signal (engine: Engine, figures: Figures, { signals }: Sizes): Promise<void> {
  await withOne(engine, async (id) => {
    add(figures, 'signal', await samples(signals, 3, async () => await engine.signal(id)))
    const answering = await engine.signallers()
    const cpu = async (): Promise<number> => (await Promise.all(answering.map(async (pid) => await cpuTime(pid).catch(() => 0)))).reduce((sum, value) => sum + value, 0)
    const before = await cpu()
    const { count, seconds } = await load(engine, id)
    add(figures, 'signalRate', count / seconds)
    add(figures, 'signalCpu', (await cpu() - before) / count * 1000)
  })
}

/** One exit to 100 readers of events: ms until the middle and the last of them has it. */
async function fanout (engine: Engine, figures: Figures, { kills }: Sizes): Promise<void> {
  const readers = []
  for (let i = 0; i < 100; i++) readers.push(await engine.listen())
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
  add(figures, 'fanoutMiddle', middles)
  add(figures, 'fanoutLast', lasts)
}

/** PSS of daemon and helpers, KiB. */
async function weight (engine: Engine): Promise<number> {
  const sizes = await Promise.all((await engine.processes()).map(pss))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** What all costs beside those that run: memory for each, a life, an exit, a signal; and a killed daemon's way back to them. */
async function many (engine: Engine, figures: Figures, { many, fill, signals }: Sizes): Promise<void> {
  // From a daemon that is as fresh as the one after each restart below, but has done its first work.
  await engine.restart?.()
  await life(engine)
  await pause(2)
  let base = await weight(engine)
  let running = 0
  const end = performance.now() + fill * 1000
  for (const target of many) {
    await Promise.all(Array.from({ length: 4 }, async () => {
      while (running < target && performance.now() < end) {
        running++
        await engine.launch(fresh(), 'sleep')
      }
    }))
    const short = running < target
    const note = short ? `at ${running}: as many as it started in ${fill} s` : undefined
    await pause(2)
    if (engine.restart !== undefined) add(figures, `each@${target}`, (await weight(engine) - base) / running, note)
    add(figures, `life@${target}`, await samples(20, 3, async () => await life(engine)), note)
    add(figures, `exit@${target}`, await killed(engine, 20, 3), note)
    await withOne(engine, async (id) => add(figures, `signal@${target}`, await samples(signals, 1, async () => await engine.signal(id)), note))
    if (engine.restart !== undefined) {
      const before = await weight(engine)
      add(figures, `restart@${target}`, await timed(engine.restart), note)
      // The new daemon is smaller than the old one by what that had grown otherwise.
      await pause(2)
      base += await weight(engine) - before
    }
    if (short) break
  }
  await engine.clear()
}

/** Right after its start. */
async function idle (engine: Engine, figures: Figures): Promise<void> {
  if (engine.restart === undefined) return
  await pause(3)
  add(figures, 'idle', await weight(engine) / 1024)
}

/** In the order in which they are done. */
export const measures = { idle, lifecycle, throughput, exit, signal, fanout, many }

/** Those that are done once, however many rounds there are. */
export const once: string[] = ['idle', 'many']
