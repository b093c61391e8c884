import { pss } from '../engines/processes.ts'
import type { Engine } from '../engines/engine.ts'
import type { longshore } from '../engines/longshore.ts'
import { load } from '../peers/load.ts'
import { cpuTime, median, quantile, samples, timed } from '../support/figures.ts'
import { killed, life } from '../support/lives.ts'

type Longshore = ReturnType<typeof longshore>

/** the figures of one step */
export type Step = { count: number } & Record<string, number>

export type Sizes = {
  /** lives and exits of each side */
  pairs: number
  restarts: number
  /** seconds in which nobody asks anything */
  idleSeconds: number
}

let serial = 0
export const fresh = (): string => `g${process.pid}-${serial++}`
export const pause = async (seconds: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, seconds * 1000))

async function cpuOf (pids: number[]): Promise<number> {
  const all = await Promise.all(pids.map(async (pid) => await cpuTime(pid).catch(() => 0)))
  return all.reduce((sum, value) => sum + value, 0)
}

/** So that code has been compiled and caches are filled as they would be in a daemon that has been up for a while. */
export async function warm (engine: Engine, target: string): Promise<void> {
  for (let i = 0; i < 5; i++) await life(engine, fresh())
  await load(engine, target)
}

/** Everything that is asked of the daemon, in turn with its floor, while so much else is there. `target` is a container that runs. */
export async function step (count: number, ours: Longshore, bare: Engine, target: string, sizes: Sizes): Promise<Step> {
  // Of a daemon that has just come up: later there is garbage of the load in it, which would hide what belongs to a container.
  await pause(2)
  const daemon = ours.daemonPid()
  const shims = (await ours.processes()).filter((pid) => pid !== daemon)
  const daemonPss = await pss(daemon) / 1024
  const shimPss = (await Promise.all(shims.map(pss))).reduce((sum, value) => sum + value, 0) / Math.max(1, shims.length)
  const idleBefore = [await cpuOf([daemon]), await cpuOf(shims)]
  await pause(sizes.idleSeconds)
  const idleAfter = [await cpuOf([daemon]), await cpuOf(shims)]
  await warm(ours, target)
  const lives = { ours: [] as number[], bare: [] as number[] }
  const kills = { ours: [] as number[], bare: [] as number[] }
  const before = await cpuTime(daemon)
  for (let i = 0; i < sizes.pairs; i++) {
    lives.ours.push(await life(ours, fresh()))
    lives.bare.push(await life(bare, fresh()))
  }
  const lifeCpu = (await cpuTime(daemon) - before) / sizes.pairs
  for (let i = 0; i < sizes.pairs; i++) {
    kills.ours.push(await killed(ours, fresh()))
    kills.bare.push(await killed(bare, fresh()))
  }
  const rates = { ours: [] as number[], bare: [] as number[] }
  const signalCpu: number[] = []
  for (let i = 0; i < 3; i++) {
    const cpu = await cpuTime(daemon)
    const { count, seconds } = await load(ours, target)
    signalCpu.push((await cpuTime(daemon) - cpu) / count * 1000)
    rates.ours.push(count / seconds)
    const floor = await load(bare, target)
    rates.bare.push(floor.count / floor.seconds)
  }
  const signal = await samples(300, 3, async () => await ours.signal(target))
  const bareSignal = await samples(300, 3, async () => await bare.signal(target))
  const get = await samples(200, 3, async () => await ours.http().call('GET', `/containers/${target}`))
  const list = await samples(50, 3, async () => await ours.http().call('GET', '/containers?limit=1'))
  const page = await samples(50, 3, async () => await ours.http().call('GET', '/containers'))
  const found = await samples(50, 3, async () => await ours.http().call('GET', '/containers?label=app=none'))
  return {
    count,
    life: median(lives.ours),
    bareLife: median(lives.bare),
    lifeRatio: median(lives.ours.map((value, i) => value / (lives.bare[i] ?? NaN))),
    lifeCpu,
    exit: median(kills.ours),
    bareExit: median(kills.bare),
    exitRatio: median(kills.ours.map((value, i) => value / (kills.bare[i] ?? NaN))),
    signal: median(signal),
    bareSignal: median(bareSignal),
    signalRate: median(rates.ours),
    bareSignalRate: median(rates.bare),
    signalRateRatio: median(rates.ours.map((value, i) => value / (rates.bare[i] ?? NaN))),
    signalCpu: median(signalCpu),
    signal99: quantile(signal, 0.99),
    get: median(get),
    list: median(list),
    page: median(page),
    filtered: median(found),
    daemonPss,
    shimPss,
    idleCpu: ((idleAfter[0] ?? 0) - (idleBefore[0] ?? 0)) / sizes.idleSeconds,
    shimsCpu: ((idleAfter[1] ?? 0) - (idleBefore[1] ?? 0)) / sizes.idleSeconds
  }
}

/** kill -9 to ready, ms. */
export async function restart (ours: Longshore, times: number): Promise<number> {
  const taken: number[] = []
  for (let i = 0; i < times; i++) taken.push(await timed(async () => await ours.restart?.()))
  return median(taken)
}
