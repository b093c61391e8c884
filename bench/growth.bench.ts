/**
 * How costs grow with what is there (promise S7): the same measures beside more and more running containers, and beside more and
 * more idle readers of events, in turn with the floors. Writes build/bench/growth.json, growth.md and plots as SVG.
 * CONTAINERS (1,10,100,500,1000), READERS (1,10,100,1000,10000): the steps, empty for none; PAIRS (15): lives and exits at each.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeBundle, project } from '../test/support/daemon.ts'
import { longshore } from './engines/longshore.ts'
import { bareRuntime } from './engines/runc.ts'
import { fresh, restart, step, warm, type Sizes } from './growth/measures.ts'
import { plots, report, type Growth } from './growth/report.ts'
import { jsonFile } from './support/figures.ts'
import { LineProgram, compile } from './support/programs.ts'

const run = promisify(execFile)
const { env } = process
const steps = (name: string, otherwise: string): number[] => (env[name] ?? otherwise).split(',').filter((text) => text !== '').map(Number)
const sizes: Sizes = { pairs: Number(env.PAIRS ?? 15), restarts: 3, idleSeconds: 5 }
const runtime = env.RUNTIME ?? 'runc'
const directory = await mkdtemp('/dev/shm/longshore-growth-')
const bundles = {
  true: await makeBundle(join(directory, 'true'), ['/bin/true']),
  sleep: await makeBundle(join(directory, 'sleep'), ['/bin/sleep', '100000'])
}
const ours = longshore(runtime, directory, bundles, ['--max-subscribers', '20000'])
const bare = bareRuntime(runtime, directory, bundles)
const began = performance.now()
const growth: Growth = {
  when: new Date().toISOString(),
  commit: await run('git', ['-C', project, 'rev-parse', '--short', 'HEAD']).then(({ stdout }) => stdout.trim(), () => 'unknown'),
  machine: { kernel: release(), cpus: cpus().length, cpu: cpus()[0]?.model ?? '', node: process.version, runtime: await bare.version(), loadBefore: loadavg(), loadAfter: [] },
  seconds: 0,
  containers: [],
  readers: []
}

/** This process and its floors, so that the first step is not the one with the cold client. */
async function warmUp (): Promise<void> {
  const target = fresh()
  await ours.launch(target, 'sleep')
  for (const engine of [ours, bare, ours, bare]) await warm(engine, target)
  await ours.remove(target)
}

async function byContainers (): Promise<void> {
  const target = fresh()
  let running = 1
  await ours.launch(target, 'sleep')
  for (const count of steps('CONTAINERS', '1,10,100,500,1000')) {
    await Promise.all(Array.from({ length: 4 }, async () => {
      while (running < count) {
        running++
        await ours.launch(fresh(), 'sleep')
      }
    }))
    // First, so that each step has a daemon that is equally new.
    const back = await restart(ours, sizes.restarts)
    growth.containers.push(Object.assign(await step(count, ours, bare, target, sizes), { restart: back }))
    console.error(`${count} containers`)
  }
  await ours.clear()
}

async function byReaders (): Promise<void> {
  const target = fresh()
  const program = await compile('event-readers', directory)
  for (const count of steps('READERS', '1,10,100,1000,10000')) {
    await ours.restart?.()
    if (growth.readers.length === 0) await ours.launch(target, 'sleep')
    const readers = new LineProgram(program, [ours.socket, String(count), '0', 'from=now&container=none'])
    await readers.line()
    growth.readers.push(await step(count, ours, bare, target, sizes))
    readers.end()
    console.error(`${count} readers`)
  }
}

try {
  await ours.start()
  await bare.start()
  await warmUp()
  await byContainers()
  await byReaders()
} finally {
  growth.machine.loadAfter = loadavg()
  await bare.stop()
  await ours.stop()
  await rm(directory, { recursive: true, force: true })
}
growth.seconds = (performance.now() - began) / 1000
const text = report(growth)
const out = join(project, 'build/bench')
await mkdir(out, { recursive: true })
await writeFile(join(out, 'growth.json'), jsonFile(growth))
await writeFile(join(out, 'growth.md'), text)
for (const [name, svg] of plots(growth)) await writeFile(join(out, name), svg)
console.log(text)
process.exit()
