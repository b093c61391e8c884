import { readFile, readdir, rm, rmdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { processesWith } from '../engines/processes.ts'
import { prefix } from './measures.ts'

/** Where the peers put groups of their own, below each hierarchy. */
const parents = ['docker', 'libpod_parent', 'bench', 'longshore']
/** What the peers make on the machine although they were given directories of their own. */
const files = ['/run/docker', '/etc/docker', '/run/containers', '/run/crun', '/run/containerd', '/run/runc', '/var/lib/containers', '/dev/shm/libpod_lock', '/run/netns']

const list = async (path: string): Promise<string[]> => await readdir(path).catch(() => [])

async function groups (): Promise<Set<string>> {
  const found = new Set<string>()
  for (const hierarchy of ['', ...await list('/sys/fs/cgroup')]) {
    const top = join('/sys/fs/cgroup', hierarchy)
    for (const name of await list(top)) {
      if (name.startsWith(prefix)) found.add(join(top, name))
      if (!parents.includes(name)) continue
      found.add(join(top, name))
      for (const child of await list(join(top, name))) if (/^([0-9a-f]{64}|libpod-.*)$/.test(child) || child.startsWith(prefix)) found.add(join(top, name, child))
    }
  }
  return found
}

const networks = async (): Promise<Set<string>> => new Set([...(await list('/sys/class/net')).map((name) => `network ${name}`), ...(await list('/run/netns')).map((name) => `network namespace ${name}`)])

/** Mount points below a directory, the last one first. */
export async function mountsBelow (directory: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines.map((line) => line.split(' ')[4] ?? '').filter((point) => point.startsWith(directory)).reverse()
}

export type Before = { groups: Set<string>, networks: Set<string>, files: Set<string> }

async function there (): Promise<Set<string>> {
  const found = new Set<string>()
  for (const path of files) if ((await list(join(path, '..'))).includes(path.split('/').at(-1) ?? '')) found.add(path)
  return found
}

export const before = async (): Promise<Before> => ({ groups: await groups(), networks: await networks(), files: await there() })

/** What statfs(2) says of a tmpfs. */
const tmpfs = 0x01021994

/**
 * crun makes directories where the unified hierarchy would be mounted, also when it is not (as its runs here need it): what
 * is on the directory below a mount point stays for good, and is no group.
 */
async function isGroup (path: string): Promise<boolean> {
  return await statfs(path).then(({ type }) => type !== tmpfs, () => false) // it may have gone with the one above it
}

/** as many of them as are named */
const shown = 10

/** What there is of processes, mounts, groups and networks that was not there before. Empty parents of groups and known files are removed and not named. */
export async function leftBehind (earlier: Before, directory: string): Promise<string[]> {
  const left: string[] = []
  for (const pid of await processesWith(directory)) left.push(`process ${pid} ${(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').slice(0, 80)}`)
  for (const point of await mountsBelow(directory)) left.push(`mount ${point}`)
  for (const group of await groups()) {
    if (earlier.groups.has(group)) continue
    if (!await isGroup(group)) {
      await rm(group, { recursive: true, force: true })
      continue
    }
    if (!parents.includes(group.split('/').at(-1) ?? '')) left.push(`group ${group}`)
    else await rmdir(group).catch(() => {}) // one that is not empty is named by what is in it
  }
  for (const network of await networks()) if (!earlier.networks.has(network)) left.push(network)
  for (const path of await there()) if (!earlier.files.has(path)) await rm(path, { recursive: true, force: true }).catch(() => {})
  return left.length > shown ? [...left.slice(0, shown), `and ${left.length - shown} more`] : left
}
