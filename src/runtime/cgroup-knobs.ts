import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { ResourcesView } from '../schemas/index.ts'
import type { ContainerCgroup } from './cgroup.ts'
import { parseList } from './resources.ts'

/** controller → the files through which a group is limited (cgroup-v1/*.rst, cgroup-v2.rst) */
const files: Record<1 | 2, Record<string, string[]>> = {
  1: {
    memory: ['memory.limit_in_bytes', 'memory.soft_limit_in_bytes', 'memory.memsw.limit_in_bytes'],
    cpu: ['cpu.shares', 'cpu.cfs_quota_us', 'cpu.cfs_period_us'],
    cpuset: ['cpuset.cpus', 'cpuset.mems'],
    pids: ['pids.max'],
    blkio: ['blkio.weight', 'blkio.bfq.weight']
  },
  2: { v2: ['memory.max', 'memory.low', 'memory.swap.max', 'cpu.weight', 'cpu.max', 'cpuset.cpus', 'cpuset.mems', 'pids.max', 'io.weight', 'io.bfq.weight'] }
}

/** The directory of a controller's group; on v2 one for all. */
export function directoryOf (cgroup: ContainerCgroup, controller: string): string | undefined {
  return cgroup.directories?.[cgroup.version === 1 ? controller : 'v2']
}

function paths (cgroup: ContainerCgroup): string[] {
  return Object.entries(files[cgroup.version]).flatMap(([controller, names]) => {
    const directory = directoryOf(cgroup, controller)
    return directory === undefined ? [] : names.map((name) => join(directory, name))
  })
}

async function readIf (path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV') || hasCode(error, 'EOPNOTSUPP')) return undefined
    throw error
  }
}

export type Knobs = Map<string, string>

/** The limits of a group as the kernel has them: file → text. */
export async function readKnobs (cgroup: ContainerCgroup): Promise<Knobs> {
  const knobs: Knobs = new Map()
  for (const path of paths(cgroup)) {
    const text = await readIf(path)
    if (text !== undefined) knobs.set(path, text)
  }
  return knobs
}

const passes = 3

/** Puts the limits of a group back. Some can be set in one order only (memory and swap), so it goes over them until all are right; returns the files that are not. */
export async function restoreKnobs (cgroup: ContainerCgroup, before: Knobs): Promise<string[]> {
  let wrong: string[] = []
  for (let pass = 0; pass <= passes; pass++) {
    const now = await readKnobs(cgroup)
    wrong = [...before].filter(([path, text]) => now.has(path) && now.get(path) !== text).map(([path]) => path)
    if (wrong.length === 0 || pass === passes) break
    for (const path of wrong) {
      // The first line of a weight is that of all devices; its own form is not taken back.
      const [text = ''] = (before.get(path) ?? '').replace(/^default /, '').split('\n')
      await writeFile(path, `${text}\n`).catch(() => {})
    }
  }
  return wrong
}

/** What cpus and mems are where a group does not say: those of the group above. */
export async function inheritedSets (cgroup: ContainerCgroup): Promise<{ cpus: string, mems: string }> {
  const directory = directoryOf(cgroup, 'cpuset')
  if (directory === undefined) return { cpus: '', mems: '' }
  const above = dirname(directory)
  const read = async (...names: string[]): Promise<string> => {
    for (const name of names) {
      const text = await readIf(join(above, name))
      if (text !== undefined && text !== '') return text
    }
    return ''
  }
  return { cpus: await read('cpuset.cpus', 'cpuset.cpus.effective'), mems: await read('cpuset.mems', 'cpuset.mems.effective') }
}

const pageSize = 4096n
/** v1 writes "no limit" as the largest number of whole pages */
const unlimitedFrom = 1n << 62n

function bytes (text: string): bigint {
  if (text === 'max' || text.startsWith('-')) return -1n
  const value = BigInt(text)
  return value >= unlimitedFrom ? -1n : value
}

/**
 * Compares the kernel's limits with what a runtime was asked for and said it had set: the first that differs, in words; undefined when all
 * are right. A limit may be rounded to whole pages. What v2 counts in other terms (shares, weight, swap) is not compared there.
 */
export function differs (cgroup: ContainerCgroup, knobs: Knobs, asked: ResourcesView): string | undefined {
  const knob = (controller: string, name: string): string | undefined => {
    const directory = directoryOf(cgroup, controller)
    return directory === undefined ? undefined : knobs.get(join(directory, name))
  }
  const checks: [string, number | string | undefined, string | undefined, (text: string) => boolean][] = []
  const { memory, cpu, pids, blockIO } = asked
  const samePages = (wanted: number) => (text: string) => {
    const is = bytes(text)
    return wanted === -1 ? is === -1n : is / pageSize === BigInt(wanted) / pageSize
  }
  const sameSet = (wanted: string) => (text: string) => {
    const [is, was] = [parseList(text), parseList(wanted)]
    return is.size === was.size && [...is].every((number) => was.has(number))
  }
  if (memory?.limit !== undefined) checks.push(['memory.limit', memory.limit, knob('memory', cgroup.version === 1 ? 'memory.limit_in_bytes' : 'memory.max'), samePages(memory.limit)])
  if (memory?.swap !== undefined && cgroup.version === 1) checks.push(['memory.swap', memory.swap, knob('memory', 'memory.memsw.limit_in_bytes'), samePages(memory.swap)])
  if (memory?.reservation !== undefined && cgroup.version === 1) checks.push(['memory.reservation', memory.reservation, knob('memory', 'memory.soft_limit_in_bytes'), samePages(memory.reservation)])
  if (pids?.limit !== undefined) checks.push(['pids.limit', pids.limit, knob('pids', 'pids.max'), (text) => bytes(text) === BigInt(pids.limit ?? -1)])
  if (cpu?.quota !== undefined) {
    checks.push(['cpu.quota', cpu.quota, cgroup.version === 1 ? knob('cpu', 'cpu.cfs_quota_us') : knob('cpu', 'cpu.max')?.split(' ')[0], (text) => bytes(text) === BigInt(cpu.quota ?? -1)])
  }
  if (cpu?.period !== undefined) checks.push(['cpu.period', cpu.period, cgroup.version === 1 ? knob('cpu', 'cpu.cfs_period_us') : knob('cpu', 'cpu.max')?.split(' ')[1], (text) => Number(text) === cpu.period])
  if (cpu?.shares !== undefined && cgroup.version === 1) checks.push(['cpu.shares', cpu.shares, knob('cpu', 'cpu.shares'), (text) => Number(text) === cpu.shares])
  if (cpu?.cpus !== undefined) checks.push(['cpu.cpus', cpu.cpus, knob('cpuset', 'cpuset.cpus'), sameSet(cpu.cpus)])
  if (cpu?.mems !== undefined) checks.push(['cpu.mems', cpu.mems, knob('cpuset', 'cpuset.mems'), sameSet(cpu.mems)])
  if (blockIO?.weight !== undefined) {
    const weight = knob('blkio', 'blkio.weight') ?? knob('blkio', 'blkio.bfq.weight') ?? knob('blkio', 'io.bfq.weight') ?? knob('blkio', 'io.weight')
    checks.push(['blockIO.weight', blockIO.weight, weight, (text) => cgroup.version === 2 || Number(text) === blockIO.weight])
  }
  for (const [field, wanted, is, same] of checks) {
    if (is === undefined) return `the kernel has no such limit for this container: ${field}`
    if (!same(is)) return `${field} was to be ${wanted ?? ''}, and the kernel has ${is}`
  }
  return undefined
}

/** A weight of I/O that is cleared: runtimes have no words for it. */
export async function resetWeight (cgroup: ContainerCgroup): Promise<void> {
  const directory = directoryOf(cgroup, 'blkio')
  if (directory === undefined) return
  // The kernel's defaults: CFQ's was 500, BFQ's and that of io.weight are 100.
  for (const [name, value] of [['blkio.weight', '500'], ['blkio.bfq.weight', '100'], ['io.weight', 'default 100'], ['io.bfq.weight', '100']] as const) {
    try {
      if (await readIf(join(directory, name)) !== undefined) await writeFile(join(directory, name), value)
    } catch (error) {
      throw new LongshoreError('runtime_failed', `${name} could not be set to its default: ${(error as Error).message}`, { cause: error })
    }
  }
}
