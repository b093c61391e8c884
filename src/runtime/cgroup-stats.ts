import { join } from 'node:path'
import type { PressureView, StatsView } from '../schemas/index.ts'
import type { ContainerCgroup } from './cgroup.ts'
import { directoryOf } from './cgroup-knobs.ts'

/** What one reading is made of: key → controller (v1; one directory for all on v2) and file. */
const filesOf = {
  1: {
    // In total it is counted exactly; by mode in ticks only.
    cpuTotal: ['cpuacct', 'cpuacct.usage'],
    cpuUsage: ['cpuacct', 'cpuacct.usage_all'],
    cpu: ['cpu', 'cpu.stat'],
    memory: ['memory', 'memory.stat'],
    memoryUsage: ['memory', 'memory.usage_in_bytes'],
    memoryPeak: ['memory', 'memory.max_usage_in_bytes'],
    oom: ['memory', 'memory.oom_control'],
    pids: ['pids', 'pids.current'],
    pidsLimit: ['pids', 'pids.max'],
    ioBytes: ['blkio', 'blkio.throttle.io_service_bytes_recursive'],
    ioOps: ['blkio', 'blkio.throttle.io_serviced_recursive']
  },
  2: {
    cpu: ['v2', 'cpu.stat'],
    memory: ['v2', 'memory.stat'],
    memoryUsage: ['v2', 'memory.current'],
    memoryPeak: ['v2', 'memory.peak'],
    memoryLimit: ['v2', 'memory.max'],
    swap: ['v2', 'memory.swap.current'],
    oom: ['v2', 'memory.events'],
    pids: ['v2', 'pids.current'],
    pidsLimit: ['v2', 'pids.max'],
    io: ['v2', 'io.stat']
  }
} as const

/** Pressure is told by the v2 hierarchy, also where the controllers are those of v1 (psi.rst). */
const pressureFiles = { cpuPressure: 'cpu.pressure', memoryPressure: 'memory.pressure', ioPressure: 'io.pressure' } as const

type Key = keyof typeof filesOf[1] | keyof typeof filesOf[2] | keyof typeof pressureFiles | 'network'
export type Source = { key: Key, path: string }
export type Texts = Partial<Record<Key, string | null>>

/** The files that tell what a container uses. `pid`: a process in its network namespace, undefined where that is not its own. */
export function sourcesOf (cgroup: ContainerCgroup, pid: number | undefined): Source[] {
  const sources: Source[] = []
  for (const [key, [controller, name]] of Object.entries(filesOf[cgroup.version])) {
    const directory = directoryOf(cgroup, controller)
    if (directory !== undefined) sources.push({ key: key as Key, path: join(directory, name) })
  }
  const unified = cgroup.directories?.v2
  if (unified !== undefined) for (const [key, name] of Object.entries(pressureFiles)) sources.push({ key: key as Key, path: join(unified, name) })
  if (pid !== undefined) sources.push({ key: 'network', path: `/proc/${pid}/net/dev` })
  return sources
}

/** A reading in the form that clients get, but for what needs another one to compare with. */
export type Reading = Pick<StatsView, 'memory' | 'pids' | 'blockIO' | 'network' | 'oomKills' | 'pressure'> & { cpu: Omit<StatsView['cpu'], 'percent' | 'windowSeconds'> }

/** The number after a key at the beginning of a line, as in memory.stat and cpu.stat; null where there is none. */
function field (text: string | null | undefined, key: string): number | null {
  if (text == null) return null
  const at = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1
  if (at === 0 && !text.startsWith(`${key} `)) return null
  const from = at + key.length + 1
  const end = text.indexOf('\n', from)
  const value = Number(end === -1 ? text.slice(from) : text.slice(from, end))
  return Number.isFinite(value) ? value : null
}

/** v1 writes "no limit" as the largest number of whole pages */
const unlimitedFrom = 2 ** 62

function number (text: string | null | undefined): number | null {
  if (text == null || text === '') return null
  const value = Number(text)
  return Number.isFinite(value) ? value : null
}

/** A limit: null when there is none ("max", or v1's huge number), and where the kernel does not tell. */
function limit (value: number | null): number | null {
  return value === null || value >= unlimitedFrom ? null : value
}

export function readingOf (version: 1 | 2, texts: Texts): Reading {
  return version === 1 ? readV1(texts) : readV2(texts)
}

function readV1 (texts: Texts): Reading {
  const usage = number(texts.memoryUsage)
  const inactive = field(texts.memory, 'total_inactive_file')
  const periods = field(texts.cpu, 'nr_periods')
  return {
    cpu: {
      totalNs: number(texts.cpuTotal),
      ...byMode(texts.cpuUsage),
      throttling: periods === null ? null : { periods, throttledPeriods: field(texts.cpu, 'nr_throttled') ?? 0, throttledNs: field(texts.cpu, 'throttled_time') ?? 0 }
    },
    memory: {
      usage,
      workingSet: workingSet(usage, inactive),
      limit: limit(field(texts.memory, 'hierarchical_memory_limit')),
      peak: number(texts.memoryPeak),
      swap: field(texts.memory, 'total_swap'),
      cache: field(texts.memory, 'total_cache'),
      rss: field(texts.memory, 'total_rss')
    },
    pids: { current: number(texts.pids), limit: limit(number(texts.pidsLimit)) },
    blockIO: blkio(texts.ioBytes, texts.ioOps),
    oomKills: field(texts.oom, 'oom_kill'),
    ...common(texts)
  }
}

/** A heading, then for each CPU its number and the nanoseconds in user mode and in the kernel. */
function byMode (text: string | null | undefined): { userNs: number | null, systemNs: number | null } {
  if (text == null) return { userNs: null, systemNs: null }
  let [userNs, systemNs] = [0, 0]
  for (let at = text.indexOf('\n') + 1; at > 0 && at < text.length; at = text.indexOf('\n', at) + 1) {
    const first = text.indexOf(' ', at)
    const second = text.indexOf(' ', first + 1)
    const end = text.indexOf('\n', second)
    userNs += Number(text.slice(first + 1, second))
    systemNs += Number(text.slice(second + 1, end === -1 ? text.length : end))
  }
  return { userNs, systemNs }
}

function readV2 (texts: Texts): Reading {
  const usage = number(texts.memoryUsage)
  const periods = field(texts.cpu, 'nr_periods')
  const ns = (key: string): number | null => {
    const us = field(texts.cpu, key)
    return us === null ? null : us * 1000
  }
  return {
    cpu: {
      totalNs: ns('usage_usec'),
      userNs: ns('user_usec'),
      systemNs: ns('system_usec'),
      throttling: periods === null ? null : { periods, throttledPeriods: field(texts.cpu, 'nr_throttled') ?? 0, throttledNs: ns('throttled_usec') ?? 0 }
    },
    memory: {
      usage,
      workingSet: workingSet(usage, field(texts.memory, 'inactive_file')),
      limit: limit(number(texts.memoryLimit)),
      peak: number(texts.memoryPeak),
      swap: number(texts.swap),
      cache: field(texts.memory, 'file'),
      rss: field(texts.memory, 'anon')
    },
    pids: { current: number(texts.pids), limit: limit(number(texts.pidsLimit)) },
    blockIO: ioStat(texts.io),
    oomKills: field(texts.oom, 'oom_kill'),
    ...common(texts)
  }
}

function common (texts: Texts): Pick<Reading, 'network' | 'pressure'> {
  return {
    network: networkOf(texts.network),
    pressure: { cpu: pressureOf(texts.cpuPressure), memory: pressureOf(texts.memoryPressure), io: pressureOf(texts.ioPressure) }
  }
}

function workingSet (usage: number | null, inactive: number | null): number | null {
  return usage === null || inactive === null ? null : Math.max(0, usage - inactive)
}

type Device = NonNullable<StatsView['blockIO']>['devices'][number]

function blockIO (devices: Iterable<Device>): NonNullable<StatsView['blockIO']> {
  const all = { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0, devices: [...devices] }
  for (const { readBytes, writeBytes, readOps, writeOps } of all.devices) {
    all.readBytes += readBytes
    all.writeBytes += writeBytes
    all.readOps += readOps
    all.writeOps += writeOps
  }
  return all
}

/** Lines such as `8:0 Read 4096`, and in the end `Total 4096`. */
function blkio (bytes: string | null | undefined, ops: string | null | undefined): StatsView['blockIO'] {
  if (bytes == null && ops == null) return null
  const devices = new Map<string, Device>()
  for (const [text, read, write] of [[bytes, 'readBytes', 'writeBytes'], [ops, 'readOps', 'writeOps']] as const) {
    for (const line of text?.split('\n') ?? []) {
      const [device, what, count] = line.split(' ')
      if (device === undefined || count === undefined || (what !== 'Read' && what !== 'Write')) continue
      let one = devices.get(device)
      if (one === undefined) devices.set(device, one = { device, readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 })
      one[what === 'Read' ? read : write] += Number(count)
    }
  }
  return blockIO(devices.values())
}

const ioNames: Record<string, 'readBytes' | 'writeBytes' | 'readOps' | 'writeOps'> = { rbytes: 'readBytes', wbytes: 'writeBytes', rios: 'readOps', wios: 'writeOps' }

/** Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`. */
function ioStat (text: string | null | undefined): StatsView['blockIO'] {
  if (text == null) return null
  const devices: Device[] = []
  for (const line of text.split('\n')) {
    const [device, ...pairs] = line.split(' ')
    if (device === undefined || pairs.length === 0) continue
    const one: Device = { device, readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 }
    for (const pair of pairs) {
      const [name = '', value] = pair.split('=')
      const known = ioNames[name]
      if (known !== undefined) one[known] = Number(value)
    }
    devices.push(one)
  }
  return blockIO(devices)
}

/** /proc/PID/net/dev: two lines of headings, then `eth0: 8 numbers received, 8 numbers sent`. */
function networkOf (text: string | null | undefined): StatsView['network'] {
  if (text == null) return null
  const sum = { rxBytes: 0, rxPackets: 0, rxErrors: 0, rxDropped: 0, txBytes: 0, txPackets: 0, txErrors: 0, txDropped: 0 }
  const interfaces: NonNullable<StatsView['network']>['interfaces'] = []
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon === -1) continue
    const name = line.slice(0, colon).trim()
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0, , , , , txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = line.slice(colon + 1).split(' ').filter((word) => word !== '').map(Number)
    const one = { rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }
    interfaces.push({ name, ...one })
    if (name === 'lo') continue
    sum.rxBytes += rxBytes
    sum.rxPackets += rxPackets
    sum.rxErrors += rxErrors
    sum.rxDropped += rxDropped
    sum.txBytes += txBytes
    sum.txPackets += txPackets
    sum.txErrors += txErrors
    sum.txDropped += txDropped
  }
  return { ...sum, interfaces }
}

/** Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`. */
function pressureOf (text: string | null | undefined): PressureView | null {
  if (text == null) return null
  const some = stall(text, 'some ')
  return some === null ? null : { some, full: stall(text, 'full ') }
}

function stall (text: string, kind: string): PressureView['some'] | null {
  const at = text.indexOf(kind)
  if (at === -1) return null
  const end = text.indexOf('\n', at)
  const [avg10, avg60, avg300, total] = text.slice(at + kind.length, end === -1 ? text.length : end).split(' ').map((pair) => Number(pair.slice(pair.indexOf('=') + 1)))
  if (avg10 === undefined || avg60 === undefined || avg300 === undefined || total === undefined) return null
  return { avg10, avg60, avg300, totalUs: total }
}
