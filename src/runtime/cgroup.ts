import { readFile, readdir, rmdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { hasCode } from '../errors.ts'
import { fileSteps } from './files.ts'

/** Where the cgroup hierarchies are mounted on this machine (cgroups(7), proc(5) "mountinfo"). */
export type CgroupMounts = {
  version: 1 | 2
  /** cgroup v1: controller → mount point */
  v1: Map<string, string>
  /** the v2 hierarchy, also where it stands beside v1 (hybrid) */
  v2: string | undefined
}

/** The directories of one container. */
export type ContainerCgroup = {
  version: 1 | 2
  /** lists every process of the container, in cgroup.procs */
  procs: string
  /** has freezer.state (v1) or cgroup.freeze (v2) */
  freezer: string | undefined
  /** has memory.oom_control (v1) or memory.events (v2) */
  memory: string | undefined
  /** every group of its own: v1 by controller, and `v2` for that in the v2 hierarchy. Absent in records of earlier versions */
  directories?: Record<string, string>
}

export async function findCgroups (): Promise<CgroupMounts> {
  const v1 = new Map<string, string>()
  let v2: string | undefined
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const [left, right] = line.split(' - ')
    if (left === undefined || right === undefined) continue
    const mount = left.split(' ')[4]
    const [type, , options] = right.split(' ')
    if (mount === undefined) continue
    if (type === 'cgroup2') v2 ??= mount
    if (type === 'cgroup') for (const option of options?.split(',') ?? []) if (!v1.has(option)) v1.set(option, mount)
  }
  return { version: v1.has('memory') || v1.has('pids') || v1.has('freezer') ? 1 : 2, v1, v2 }
}

/** The directories of the container that a process is the init of, from /proc/PID/cgroup; undefined when the process is gone or shares the daemon's own cgroup. */
export async function cgroupOf (pid: number, mounts: CgroupMounts): Promise<ContainerCgroup | undefined> {
  const limit = 1024 * 1024
  const [text, own] = await fileSteps([{ op: 'read', path: `/proc/${pid}/cgroup`, limit }, { op: 'read', path: '/proc/self/cgroup', limit }])
  if (text === undefined || own === undefined) return undefined
  const ownLines = new Set(own.split('\n'))
  const paths = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, controllers, ...rest] = line.split(':')
    // A hierarchy in which the container was given no group of its own must never be frozen or killed.
    if (controllers === undefined || ownLines.has(line)) continue
    for (const controller of controllers === '' ? ['v2'] : controllers.split(',')) paths.set(controller, rest.join(':'))
  }
  const directory = (controller: string): string | undefined => {
    const mount = controller === 'v2' ? mounts.v2 : mounts.v1.get(controller)
    const path = paths.get(controller)
    return mount === undefined || path === undefined || path === '/' ? undefined : join(mount, path)
  }
  const directories = Object.fromEntries([...paths.keys()].flatMap((controller) => {
    const group = directory(controller)
    return group === undefined ? [] : [[controller, group]]
  }))
  if (mounts.version === 2) {
    const group = directory('v2')
    return group === undefined ? undefined : { version: 2, procs: group, freezer: group, memory: group, directories }
  }
  const freezer = directory('freezer')
  const memory = directory('memory')
  const procs = freezer ?? directory('devices') ?? directory('pids') ?? memory
  return procs === undefined ? undefined : { version: 1, procs, freezer, memory, directories }
}

/** Every process of the container, in its sub-groups too; empty when the group is gone. */
export async function processesOf (cgroup: ContainerCgroup): Promise<number[]> {
  const [processes = []] = await processesOfEach([cgroup])
  return processes
}

/** The same of several, in one errand of the thread pool. */
export async function processesOfEach (cgroups: ContainerCgroup[]): Promise<number[][]> {
  const texts = await fileSteps(cgroups.map(({ procs }) => ({ op: 'gather' as const, path: procs, name: 'cgroup.procs' })))
  return texts.map((lines) => (lines === undefined ? [] : lines.split('\n').filter((line) => line !== '' && line !== '0').map(Number)))
}

/** The kernel's count of OOM kills in the container's group; undefined where it does not tell, or the group is gone. */
export async function oomKillsOf ({ version, memory }: ContainerCgroup): Promise<number | undefined> {
  if (memory === undefined) return undefined
  const text = await readFile(join(memory, version === 1 ? 'memory.oom_control' : 'memory.events'), 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV')) return ''
    throw error
  })
  const count = /^oom_kill (\d+)$/m.exec(text)?.[1]
  return count === undefined ? undefined : Number(count)
}

/** A frozen process cannot act on SIGKILL on cgroup v1: thaw after the signal. Does nothing where the group is not frozen or gone. */
export async function thaw (cgroup: ContainerCgroup): Promise<void> {
  if (cgroup.freezer === undefined) return
  const [file, value] = cgroup.version === 1 ? ['freezer.state', 'THAWED'] as const : ['cgroup.freeze', '0'] as const
  try {
    await writeFile(join(cgroup.freezer, file), value)
  } catch (error) {
    if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENODEV')) throw error
  }
}

/**
 * Removes the groups of a run, by its name for the runtime: those that are known, and those that a runtime makes below the daemon's own where
 * nothing else is said. One that still has processes stays.
 */
export async function removeGroups (runtimeId: string, mounts: CgroupMounts, known: ContainerCgroup | null): Promise<void> {
  const groups = new Set(Object.values(known?.directories ?? {}))
  const own = await readFile('/proc/self/cgroup', 'utf8')
  for (const line of own.split('\n')) {
    const [, controllers, ...rest] = line.split(':')
    if (controllers === undefined) continue
    const mount = controllers === '' ? mounts.v2 : mounts.v1.get(controllers.split(',')[0] ?? '')
    if (mount !== undefined) groups.add(join(mount, rest.join(':'), runtimeId))
  }
  for (const group of groups) if (isNamedFor(basename(group), runtimeId)) await removeGroup(group)
}

/** With the systemd cgroup driver a group is a scope, whose name may have a prefix (`runc-<id>.scope`). */
function isNamedFor (group: string, runtimeId: string): boolean {
  return group === runtimeId || group === `${runtimeId}.scope` || group.endsWith(`-${runtimeId}.scope`)
}

/** rmdir(2) from below, since a group's files cannot be removed, and go with it. */
async function removeGroup (group: string): Promise<void> {
  try {
    for (const entry of await readdir(group, { withFileTypes: true })) if (entry.isDirectory()) await removeGroup(join(group, entry.name))
    await rmdir(group)
  } catch (error) {
    if (!['ENOENT', 'ENODEV', 'EBUSY', 'ENOTEMPTY'].some((code) => hasCode(error, code))) throw error
  }
}
