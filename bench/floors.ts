/**
 * The short way to see that nothing has become slow: lives, exits, signals and fan-out, each in turn with its floor, in at most
 * 20 s on a quiet machine. node bench/floors.ts [FILE.json]. It reports and judges nothing: a machine that is busy would make it lie. `make test`
 * runs it and shows its table; `make bench BENCH=peers` and `growth` measure the same at length.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBundle } from '../test/support/daemon.ts'
import type { Engine } from './engines/engine.ts'
import { longshore } from './engines/longshore.ts'
import { bareRuntime } from './engines/runc.ts'
import { load } from './peers/load.ts'
import { fanout } from './support/fanout.ts'
import { jsonFile, median, short, spread } from './support/figures.ts'
import { killed, life } from './support/lives.ts'
import { compile } from './support/programs.ts'

type Pairs = { ours: number[], floor: number[] }
type Row = { what: string, floor: string, pairs: Pairs, promise: string }

/** seconds for the lives, and for the exits: on a slow machine there are fewer of them */
const part = 2
/** seconds for all of it, and for putting it away: on a machine that is busier than that there is no report */
const limit = 75
const clearLimit = 20
const readers = 100
const directory = await mkdtemp(join(tmpdir(), 'floors-'))
const bundles = {
  true: await makeBundle(join(directory, 'true'), ['/bin/true']),
  sleep: await makeBundle(join(directory, 'sleep'), ['/bin/sleep', '100000'])
}
const ours = longshore('runc', directory, bundles)
const bare = bareRuntime('runc', directory, bundles)
let serial = 0
const fresh = (): string => `f${process.pid}-${serial++}`

async function inTurn (most: number, work: (engine: Engine) => Promise<number>): Promise<Pairs> {
  const pairs: Pairs = { ours: [], floor: [] }
  await work(bare)
  await work(ours)
  const end = performance.now() + part * 1000
  while (pairs.ours.length < most && (pairs.ours.length < 3 || performance.now() < end)) {
    pairs.floor.push(await work(bare))
    pairs.ours.push(await work(ours))
  }
  return pairs
}

const rows: Row[] = []
const loadBefore = loadavg()

async function measure (): Promise<void> {
  await Promise.all([ours.start(), bare.start()])
  rows.push({ what: 'life, ms', floor: 'bare runc create; start; delete', pairs: await inTurn(20, async (engine) => await life(engine, fresh())), promise: 'S1 ≤ 1.0' })
  rows.push({ what: 'kill -9 → event, ms', floor: 'bare program', pairs: await inTurn(20, async (engine) => await killed(engine, fresh())), promise: 'S3 ≤ 1.3' })
  const target = fresh()
  await ours.launch(target, 'sleep')
  const rate = async (engine: Engine): Promise<number> => {
    const { count, seconds } = await load(engine, target)
    return count / seconds
  }
  rows.push({ what: 'signals a second', floor: 'bare Fastify, empty 204', pairs: await inTurn(2, rate), promise: 'S5 ≥ 0.8' })
  const told = await fanout(await compile('event-readers', directory), directory, readers, 300, 2)
  rows.push({ what: `deliveries a second to ${readers} readers`, floor: 'bare socket.write of a shared buffer', pairs: { ours: told.longshore.rate, floor: told.bare.rate }, promise: 'S6 ≥ 0.7' })
}

async function putAway (): Promise<void> {
  await Promise.allSettled([ours.stop(), bare.stop()])
  await rm(directory, { recursive: true, force: true })
}

/** Rejects when the time is over, or a signal asks to stop: what was begun is to be put away all the same. */
async function cutShort (seconds: number, what: string): Promise<never> {
  return await new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), seconds * 1000)
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => reject(new Error(`${what}: ${signal}`)))
  })
}

try {
  await Promise.race([measure(), cutShort(limit, 'measuring')])
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  await Promise.race([putAway(), cutShort(clearLimit, 'putting it away')])
}
if (process.exitCode === 1) process.exit()

console.log(`| a report, no test: load average ${loadBefore.map(short).join(', ')} before | floor | longshore | ratio of pairs (middle half) | promised |\n|---|---|---|---|---|`)
for (const { what, floor, pairs, promise } of rows) {
  const ratios = pairs.ours.map((value, i) => value / (pairs.floor[i] ?? NaN))
  console.log(`| ${what} (${floor}) | ${short(median(pairs.floor))} | ${short(median(pairs.ours))} | ${short(median(ratios))} × (${spread(ratios).map(short).join('–')}) | ${promise} |`)
}
const [, , file] = process.argv
if (file !== undefined) await writeFile(file, jsonFile({ when: new Date().toISOString(), loadBefore, loadAfter: loadavg(), rows }))
process.exit()
