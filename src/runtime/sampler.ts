import { readlink } from 'node:fs/promises'
import { nowNs, openSet, readSets, type FileSet } from '../native/index.ts'
import type { StatsView } from '../schemas/index.ts'
import { readingOf, sourcesOf, type Reading, type Source, type Texts } from './cgroup-stats.ts'
import type { Container, RunRecord } from './container.ts'
import { timestamp } from './exit.ts'
import { isLive } from './states.ts'

/** A sample and the same as JSON, which several readers may want. */
export type Sample = { stats: StatsView, json: string }

type Kept = {
  sources: Source[]
  files: FileSet | undefined
  /** the sample before, that per cents are about */
  base: { at: number, totalNs: number | null } | undefined
  /** the last one, and when it was read (milliseconds of a monotonic clock) */
  last: { at: number, sample: Sample } | undefined
  underWay: Promise<Sample | undefined> | undefined
}

/** bytes of one file: memory.stat has some 2,000, io.stat and net/dev a line for each device */
const fileLimit = 65_536
/** a per cent over a shorter time says nothing: the kernel counts in steps */
const shortestWindowMs = 90
/** containers that are read and parsed in one go: some 300 files off the loop, and well below a millisecond in it */
export const samplesAtOnce = 20

/** milliseconds for which files stay open that nobody asks for */
const idleMs = 10_000
/** containers whose files are held open, some 13 each; beyond, they are opened for each reading */
const setsOpenAtMost = 512

/** A container of which there is something to sample. */
export function sampled ({ run, status }: Container): boolean {
  return run?.cgroup != null && run.exit === null && !run.tornDown && (isLive(status) || status === 'created')
}

/**
 * The one who reads what containers use, for all who ask: a sample that is young enough is shared, and so is a reading under
 * way. It does nothing while nobody asks.
 */
export class Sampler {
  readonly #kept = new WeakMap<RunRecord, Kept>()
  /** those with files that may be open */
  readonly #open = new Set<Kept>()
  #sweeper: NodeJS.Timeout | undefined
  #network: Promise<string | undefined> | undefined

  /**
   * Samples of these containers (`samplesAtOnce` at most), no older than so many milliseconds; undefined for one of which
   * nothing can be read (any more).
   */
  async sample (containers: Container[], maxAgeMs: number): Promise<(Sample | undefined)[]> {
    const due: { container: Container, run: RunRecord, kept: Kept }[] = []
    const samples = containers.map(async (container): Promise<Sample | undefined> => {
      const { run } = container
      if (run === null || !sampled(container)) return undefined
      const known = this.#kept.get(run)
      if (known?.underWay !== undefined) return await known.underWay
      if (known?.last !== undefined && performance.now() - known.last.at <= maxAgeMs) return known.last.sample
      const kept = known ?? { sources: [], files: undefined, base: undefined, last: undefined, underWay: undefined }
      this.#kept.set(run, kept)
      const at = due.push({ container, run, kept }) - 1
      kept.underWay = Promise.resolve().then(async () => (await read)[at])
      return await kept.underWay
    })
    const read = due.length === 0 ? Promise.resolve([]) : this.#read(due)
    try {
      return await Promise.all(samples)
    } finally {
      for (const { kept } of due) kept.underWay = undefined
    }
  }

  async #read (due: { container: Container, run: RunRecord, kept: Kept }[]): Promise<(Sample | undefined)[]> {
    for (const { run, kept } of due) {
      if (kept.files !== undefined) continue
      kept.sources = await this.#sources(run)
      // An open file of /proc would keep the network namespace of a container that has gone.
      const held = kept.sources.filter(({ key }) => key !== 'network').length
      kept.files = openSet(kept.sources.map(({ path }) => path), this.#open.size < setsOpenAtMost ? held : 0)
      this.#open.add(kept)
    }
    this.#sweeper ??= setInterval(() => this.#sweep(), idleMs).unref()
    const time = timestamp(nowNs())
    const { texts, at } = await readSets(due.flatMap(({ kept: { files } }) => (files === undefined ? [] : [files])), fileLimit)
    let next = 0
    return due.map(({ container, run, kept }) => {
      const named: Texts = {}
      let some = false
      for (const { key } of kept.sources) {
        const text = texts[next++] ?? null
        named[key] = text
        some ||= text !== null && key !== 'network'
      }
      // Its group went meanwhile, and its pid may be another's.
      if (!some || !sampled(container) || run.cgroup === null) {
        this.#close(kept)
        return undefined
      }
      const sample = sampleOf(container.id, run.runId, time, at, readingOf(run.cgroup.version, named), kept)
      kept.last = { at: performance.now(), sample }
      return sample
    })
  }

  #close (kept: Kept): void {
    kept.files?.close()
    kept.files = undefined
    this.#open.delete(kept)
  }

  /** Nobody has asked for it lately, or it has ended: its files are closed. */
  #sweep (): void {
    for (const kept of this.#open) if (kept.underWay === undefined && performance.now() - (kept.last?.at ?? 0) > idleMs) this.#close(kept)
    if (this.#open.size > 0) return
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
  }

  async #sources (run: RunRecord): Promise<Source[]> {
    if (run.cgroup === null) return []
    this.#network ??= namespaceOf('self')
    const own = run.pid === null ? undefined : await namespaceOf(run.pid)
    const shared = own === undefined || own === await this.#network
    return sourcesOf(run.cgroup, shared ? undefined : run.pid ?? undefined)
  }
}

async function namespaceOf (pid: number | 'self'): Promise<string | undefined> {
  return await readlink(`/proc/${pid}/ns/net`).catch(() => undefined)
}

function sampleOf (containerId: string, runId: string, time: string, at: number, { cpu, ...rest }: Reading, kept: Kept): Sample {
  const { base } = kept
  const window = base === undefined ? 0 : at - base.at
  const { totalNs, userNs, systemNs, throttling } = cpu
  const compared = base?.totalNs != null && totalNs !== null && window >= shortestWindowMs
  // Asked for again too soon: the per cent is the one before, over its own time.
  const before = kept.last?.sample.stats.cpu
  const percent = compared ? round(Math.max(0, totalNs - (base.totalNs ?? 0)) / (window * 1e4)) : before?.percent ?? null
  const windowSeconds = compared ? round(window / 1000) : before?.windowSeconds ?? null
  if (base === undefined || window >= shortestWindowMs) kept.base = { at, totalNs }
  const stats: StatsView = { containerId, runId, timestamp: time, cpu: { totalNs, userNs, systemNs, percent, windowSeconds, throttling }, ...rest }
  return { stats, json: JSON.stringify(stats) }
}

function round (value: number): number {
  return Math.round(value * 1000) / 1000
}
