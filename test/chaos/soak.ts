/**
 * Many lifecycles on one daemon, some at once: what it holds afterwards must be what it held before. On the command line:
 *
 *   node test/chaos/soak.ts [--rounds N] [--at-once N]
 */
import { readFile, readdir } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Daemon } from '../support/daemon.ts'
import { leftBehind, marker } from './chaos.ts'

/** What may grow. Memory in KiB: RssAnon, since the pages of files come and go with the page cache. */
export type Sample = { rounds: number, anonKiB: number, heapKiB: number, descriptors: number, threads: number, processes: number, mounts: number, cgroups: number, watched: number, files: number }
export type Soak = { samples: Sample[], leftovers: string[], lost: number, seconds: number }

async function sample (daemon: Daemon, rounds: number): Promise<Sample> {
  const status = await readFile(`/proc/${daemon.pid}/status`, 'utf8')
  const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)
  const metrics = (await daemon.get('/metrics')).text
  let cgroups = 0
  for (const line of (await readFile('/proc/cgroups', 'utf8')).trim().split('\n').slice(1)) cgroups += Number(line.split('\t')[2])
  return {
    rounds,
    anonKiB: number(status, /^RssAnon:\s+(\d+)/m),
    heapKiB: Math.round(number(metrics, /^nodejs_heap_size_used_bytes (\S+)/m) / 1024),
    descriptors: (await readdir(`/proc/${daemon.pid}/fd`)).length,
    threads: number(status, /^Threads:\s+(\d+)/m),
    processes: (await daemon.shims()).length,
    mounts: (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(daemon.directory)).length,
    cgroups,
    watched: number(metrics, /^longshore_monitored_descriptors (\d+)/m),
    files: (await readdir(daemon.directory, { recursive: true })).length
  }
}

export async function soak ({ rounds, atOnce, log = () => {} }: { rounds: number, atOnce: number, log?: (line: string) => void }): Promise<Soak> {
  const began = performance.now()
  const seed = process.pid
  const daemon = await Daemon.start(['--log-level', 'warn'])
  try {
    const bundle = await daemon.bundle('true', ['/bin/sh', '-c', 'echo out; exit 3'], (config) => config.process.env.push(`${marker}=${seed}`))
    let next = 0
    let done = 0
    let lost = 0
    const samples: Sample[] = []
    const part = async (until: number): Promise<void> => {
      await Promise.all(Array.from({ length: atOnce }, async () => {
        while (next < until) {
          const id = `s${next++}`
          // The ends differ: by itself and deleted, by itself and removed, killed and deleted by force.
          const way = Number(id.slice(1)) % 3
          const { status } = await daemon.post('/containers', { id, bundle, autoRemove: way === 1 })
          if (status !== 201) lost++
          if (way !== 2) {
            const exit = await daemon.get(`/containers/${id}/wait?condition=${way === 1 ? 'removed' : 'stopped'}`)
            if (exit.status !== 200 || exit.body.status !== 3) lost++
          }
          if (way !== 1 && (await daemon.delete(`/containers/${id}?force=true`)).status !== 204) lost++
          done++
        }
      }))
    }
    // The first tenth fills caches and pools; growth is what comes after it.
    for (let step = 1; step <= 10; step++) {
      await part(Math.round(rounds * step / 10))
      samples.push(await sample(daemon, done))
      log(JSON.stringify(samples.at(-1)))
    }
    return { samples, leftovers: await leftBehind(daemon, seed), lost, seconds: Math.round((performance.now() - began) / 1000) }
  } finally {
    await daemon.destroy()
  }
}

/** What has grown from one sample to a later one, beyond what is allowed for so many rounds. */
export function grown (first: Sample, last: Sample): string[] {
  // A heap breathes by some MiB; a leak of 1 KiB for a lifecycle is above that after 30,000, and is what heapKiB would show first.
  const limits: Partial<Record<keyof Sample, number>> = { anonKiB: 40 * 1024, descriptors: 2, threads: 1, processes: 0, mounts: 0, watched: 0, files: 4 }
  return Object.entries(limits).flatMap(([name, limit]) => {
    const more = last[name as keyof Sample] - first[name as keyof Sample]
    return more > limit ? [`${name}: ${first[name as keyof Sample]} → ${last[name as keyof Sample]}`] : []
  })
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '10000' }, 'at-once': { type: 'string', default: '4' } } })
  const { samples, leftovers, lost, seconds } = await soak({ rounds: Number(values.rounds), atOnce: Number(values['at-once']), log: (line) => { console.log(line) } })
  const [first, last] = [samples[0], samples.at(-1)]
  const growth = first === undefined || last === undefined ? ['nothing was sampled'] : grown(first, last)
  console.log(`${last?.rounds ?? 0} lifecycles in ${seconds} s; wrong answers: ${lost}; left behind: ${leftovers.length}; grown: ${growth.length}`)
  for (const line of [...leftovers, ...growth]) console.log(`  ${line}`)
  process.exitCode = lost + leftovers.length + growth.length === 0 ? 0 : 1
}
