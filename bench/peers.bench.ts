// longshore beside bare runtimes, containerd, docker and podman from Debian, each started here on directories of its own:
// rounds in turn, so that what else the machine does falls on all alike. Writes build/bench/peers.json and peers.md.
//   ENGINES=longshore,runc,containerd,docker,podman   which (all); RUNTIME=crun for another runtime below them
//   ONLY=lifecycle,throughput,exit,signal,fanout,memory   what to measure (all); ROUNDS (5), LIVES, KILLS, SIGNALS, MANY
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeBundle, project } from '../test/support/daemon.ts'
import { containerd } from './engines/containerd.ts'
import { docker } from './engines/docker.ts'
import { endTree, type Engine } from './engines/engine.ts'
import { longshore } from './engines/longshore.ts'
import { podman } from './engines/podman.ts'
import { bareRuntime } from './engines/runc.ts'
import { measures, type Figures } from './peers/measures.ts'
import { report, type Results } from './peers/report.ts'

const { env } = process
const size = (name: string, otherwise: number): number => Number(env[name] ?? otherwise)
const sizes = { lives: size('LIVES', 8), kills: size('KILLS', 10), signals: size('SIGNALS', 100), many: size('MANY', 50) }
const rounds = size('ROUNDS', 5)
const runtime = env.RUNTIME ?? 'runc'
const only = (env.ONLY ?? Object.keys(measures).join(',')).split(',')
const directory = await mkdtemp('/dev/shm/longshore-peers-')
const bundles = {
  true: await makeBundle(join(directory, 'true'), ['/bin/true']),
  sleep: await makeBundle(join(directory, 'sleep'), ['/bin/sleep', '100000'])
}

/** The bundle's root directory as a tar, which docker and podman make an image of. */
async function image (): Promise<Buffer> {
  const { stdout } = await promisify(execFile)('tar', ['-C', join(bundles.true, 'rootfs'), '-c', '.'], { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 })
  return stdout
}

const makers: Record<string, () => Engine> = {
  runc: () => bareRuntime(runtime, directory, bundles),
  longshore: () => longshore(runtime, directory, bundles),
  containerd: () => containerd(runtime, directory, bundles),
  docker: () => docker(runtime, directory, image),
  podman: () => podman(runtime, directory, image)
}

const engines: Engine[] = []
const results: Results = { when: new Date().toISOString(), machine: { kernel: release(), cpus: cpus().length, cpu: cpus()[0]?.model ?? '', memoryBytes: totalmem(), loadBefore: loadavg(), node: process.version }, commit: await commit(), rounds, sizes, engines: {} }

async function commit (): Promise<string> {
  const child = spawn('git', ['-C', project, 'rev-parse', '--short', 'HEAD'], { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => { text += chunk.toString() })
  await once(child, 'close')
  return text.trim()
}

try {
  for (const name of (env.ENGINES ?? Object.keys(makers).join(',')).split(',')) {
    const engine = makers[name]?.()
    if (engine === undefined) throw new Error(`there is no engine ${name}; there are ${Object.keys(makers).join(', ')}`)
    try {
      await engine.start()
      results.engines[engine.name] = { version: await engine.version(), notes: engine.notes, figures: {}, failures: [] }
      engines.push(engine)
    } catch (error) {
      // One that does not come up here is said to be missing; the others are measured all the same.
      results.engines[engine.name] = { version: 'not started', notes: engine.notes, figures: {}, failures: [String(error)] }
      console.error(`${engine.name} was not started: ${String(error)}`)
      await engine.stop().catch(() => {})
    }
  }
  for (const what of only) {
    const measure = measures[what as keyof typeof measures]
    if (measure === undefined) throw new Error(`there is no measure ${what}; there are ${Object.keys(measures).join(', ')}`)
    for (let round = 0; round < (what === 'memory' ? Math.min(rounds, 2) : rounds); round++) {
      for (const engine of engines) {
        const result = results.engines[engine.name]
        if (result === undefined || (what === 'memory' && engine.restart === undefined)) continue
        const figures: Figures = result.figures
        await measure(engine, figures, sizes).catch((error: unknown) => {
          result.failures.push(`${what}: ${String(error)}`)
          console.error(`${engine.name}, ${what}: ${String(error)}`)
        })
      }
      console.error(`${what}: round ${round + 1}`)
    }
  }
  results.machine.loadAfter = loadavg()
  const text = report(results)
  await mkdir(join(project, 'build/bench'), { recursive: true })
  await writeFile(join(project, 'build/bench/peers.json'), `${JSON.stringify(results, null, 2)}\n`)
  await writeFile(join(project, 'build/bench/peers.md'), text)
  console.log(text)
} finally {
  for (const engine of engines) {
    await engine.stop().catch((error: unknown) => console.error(`${engine.name} did not stop by itself: ${String(error)}`))
    await endTree(await engine.processes())
  }
  await promisify(execFile)('sh', ['-c', 'awk -v d="$1" \'index($5, d) == 1 { print $5 }\' /proc/self/mountinfo | sort -r | xargs -r umount -l', 'sh', directory])
  await rm(directory, { recursive: true, force: true })
}
