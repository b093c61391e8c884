/**
 * longshore beside bare programs, containerd, docker and podman from Debian, each started here on directories of its own: rounds in
 * turn, so that what else the machine does falls on all alike. Writes build/bench/NAME.json and NAME.md.
 *   ENGINES=bare,longshore,containerd,docker,podman   which (all); RUNTIME=crun for another runtime below them
 *   ONLY=idle,lifecycle,throughput,exit,signal,fanout,many   what to measure (all); ROUNDS (5); LIVES, KILLS, SIGNALS in a round
 *   MANY=50,500,1000   running containers beside which all is measured again; FILL: seconds that each has to start them (300)
 *   LIMIT: seconds that one measure of one engine may take (600); one that overruns is named and not measured further
 *   NAME: of the files written (peers)
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeBundle, project } from '../test/support/daemon.ts'
import { containerd } from './engines/containerd.ts'
import { docker } from './engines/docker.ts'
import type { Engine } from './engines/engine.ts'
import { longshore } from './engines/longshore.ts'
import { podman } from './engines/podman.ts'
import { endTree, processesWith } from './engines/processes.ts'
import { bareRuntime } from './engines/runc.ts'
import { before, leftBehind, mountsBelow } from './peers/leftovers.ts'
import { measures, once, type Sizes } from './peers/measures.ts'
import { report, type Results } from './peers/report.ts'
import { jsonFile } from './support/figures.ts'

const run = promisify(execFile)
const { env } = process
const size = (name: string, otherwise: number): number => Number(env[name] ?? otherwise)
const sizes: Sizes = { lives: size('LIVES', 8), kills: size('KILLS', 10), signals: size('SIGNALS', 200), many: (env.MANY ?? '50,500,1000').split(',').map(Number), fill: size('FILL', 300) }
const rounds = size('ROUNDS', 5)
const limit = size('LIMIT', 600)
const runtime = env.RUNTIME ?? 'runc'
const name = env.NAME ?? 'peers'
const only = (env.ONLY ?? Object.keys(measures).join(',')).split(',')
const directory = await mkdtemp('/dev/shm/longshore-peers-')
const earlier = await before()
const began = performance.now()
const bundles = {
  true: await makeBundle(join(directory, 'true'), ['/bin/true']),
  sleep: await makeBundle(join(directory, 'sleep'), ['/bin/sleep', '100000'])
}

/** The bundle's root directory as a tar, which docker and podman make an image of. */
async function image (): Promise<Buffer> {
  const { stdout } = await run('tar', ['-C', join(bundles.true, 'rootfs'), '-c', '.'], { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 })
  return stdout
}

const makers: Record<string, () => Engine> = {
  bare: () => bareRuntime(runtime, directory, bundles),
  longshore: () => longshore(runtime, directory, bundles, ['--max-subscribers', '20000']),
  containerd: () => containerd(runtime, directory, bundles),
  docker: () => docker(runtime, directory, image),
  podman: () => podman(runtime, directory, image)
}

async function within<T> (seconds: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((resolve, reject) => { timer = setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), seconds * 1000) })
  return await Promise.race([work, late]).finally(() => clearTimeout(timer))
}

const results: Results = {
  when: new Date().toISOString(),
  machine: { kernel: release(), cpus: cpus().length, cpu: cpus()[0]?.model ?? '', memoryBytes: totalmem(), loadBefore: loadavg(), node: process.version },
  commit: await run('git', ['-C', project, 'rev-parse', '--short', 'HEAD']).then(({ stdout }) => stdout.trim(), () => 'unknown'),
  runtime,
  rounds,
  sizes,
  seconds: 0,
  leftBehind: [],
  engines: {}
}
const engines = new Map<string, Engine>()

function fail (engine: Engine, what: string, error: unknown): void {
  const text = error instanceof Error ? error.message : String(error)
  results.engines[engine.name]?.failures.push(`${what}: ${text}`)
  console.error(`${engine.name}, ${what}: ${text}`)
}

/** Ends what an engine runs; what does not end by itself is killed. */
async function end (engine: Engine): Promise<void> {
  engines.delete(engine.name)
  await within(300, 'its stop', engine.stop()).catch((error: unknown) => fail(engine, 'stop', error))
  await endTree(await engine.processes())
}

async function measure (what: string, work: (typeof measures)[keyof typeof measures], engine: Engine): Promise<void> {
  const result = results.engines[engine.name]
  if (result === undefined) return
  try {
    await within(limit, what, work(engine, result.figures, sizes))
  } catch (error) {
    fail(engine, what, error)
    // What it was about is still there: it would lie beside all that comes.
    await within(120, 'its removal of all', engine.clear()).catch(async (error: unknown) => {
      fail(engine, `after ${what}, so that it is not measured further`, error)
      await end(engine)
    })
  }
}

try {
  for (const name of (env.ENGINES ?? Object.keys(makers).join(',')).split(',')) {
    const engine = makers[name]?.()
    if (engine === undefined) throw new Error(`there is no engine ${name}; there are ${Object.keys(makers).join(', ')}`)
    results.engines[name] = { version: '', notes: engine.notes, figures: {}, failures: [] }
    try {
      await within(120, 'its start', engine.start())
      results.engines[name].version = await engine.version()
      engines.set(name, engine)
    } catch (error) {
      // One that does not come up here is said to be missing; the others are measured all the same.
      fail(engine, 'not started', error)
      await end(engine)
    }
  }
  for (const what of only) {
    const work = measures[what as keyof typeof measures]
    if (work === undefined) throw new Error(`there is no measure ${what}; there are ${Object.keys(measures).join(', ')}`)
    for (let round = 0; round < (once.includes(what) ? 1 : rounds); round++) {
      for (const engine of [...engines.values()]) {
        const since = performance.now()
        await measure(what, work, engine)
        console.error(`${what}, round ${round + 1}, ${engine.name}: ${((performance.now() - since) / 1000).toFixed(1)} s`)
      }
    }
  }
} finally {
  results.machine.loadAfter = loadavg()
  for (const engine of [...engines.values()]) await end(engine)
  // docker and podman leave a mount of their own directory.
  for (const point of await mountsBelow(directory)) await run('umount', ['-l', point]).catch(() => {})
  results.leftBehind = await leftBehind(earlier, directory)
  await endTree(await processesWith(directory))
  await rm(directory, { recursive: true, force: true })
}
results.seconds = (performance.now() - began) / 1000
const text = report(results)
await mkdir(join(project, 'build/bench'), { recursive: true })
await writeFile(join(project, `build/bench/${name}.json`), jsonFile(results))
await writeFile(join(project, `build/bench/${name}.md`), text)
console.log(text)
// An engine that could not be told to stop may keep a connection open.
process.exit()
