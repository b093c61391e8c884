import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { hasCode } from '../errors.ts'
import { processesOf, type ContainerCgroup } from './cgroup.ts'

/** freezing: asked for, and not all processes have stopped yet */
export type FreezerState = 'thawed' | 'freezing' | 'frozen'

/** The control files of a group, by absolute path. */
export type ControlFiles = { read: (path: string) => Promise<string>, write: (path: string, text: string) => Promise<void> }

const kernel: ControlFiles = { read: async (path) => await readFile(path, 'utf8'), write: writeFile }

function gone (error: unknown): boolean {
  return hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV')
}

/**
 * What the kernel says of a group: freezer.state on v1 (freezer-subsystem.rst), cgroup.freeze and cgroup.events on v2
 * (cgroup-v2.rst). Undefined when the group is gone or has no freezer. runc and crun tell `paused` from the same files.
 */
export async function freezerState ({ version, freezer }: ContainerCgroup, files: ControlFiles = kernel): Promise<FreezerState | undefined> {
  if (freezer === undefined) return undefined
  try {
    if (version === 1) {
      const state = (await files.read(join(freezer, 'freezer.state'))).trim()
      return state === 'FROZEN' ? 'frozen' : state === 'FREEZING' ? 'freezing' : 'thawed'
    }
    if (/^frozen 1$/m.test(await files.read(join(freezer, 'cgroup.events')))) return 'frozen'
    return (await files.read(join(freezer, 'cgroup.freeze'))).trim() === '1' ? 'freezing' : 'thawed'
  } catch (error) {
    if (gone(error)) return undefined
    throw error
  }
}

async function ask ({ version, freezer }: ContainerCgroup, frozen: boolean, files: ControlFiles): Promise<void> {
  if (freezer === undefined) return
  const [file, value] = version === 1 ? ['freezer.state', frozen ? 'FROZEN' : 'THAWED'] as const : ['cgroup.freeze', frozen ? '1' : '0'] as const
  try {
    await files.write(join(freezer, file), value)
  } catch (error) {
    if (!gone(error)) throw error
  }
}

const firstPauseMs = 1
const lastPauseMs = 50

/** The state once `done` is content with it, or as it is after so many seconds. */
async function settle (cgroup: ContainerCgroup, done: (state: FreezerState | undefined) => boolean, seconds: number, files: ControlFiles): Promise<FreezerState | undefined> {
  const deadline = performance.now() + seconds * 1000
  for (let wait = firstPauseMs; ; wait = Math.min(wait * 2, lastPauseMs)) {
    const state = await freezerState(cgroup, files)
    if (done(state) || performance.now() > deadline) return state
    await pause(wait)
  }
}

/**
 * Freezes a group and waits until the kernel says that it is frozen. When that does not come within so many seconds (v1
 * stays at FREEZING while a process cannot be stopped) it is thawed again and the result is `freezing`. `thawed`: somebody
 * else thawed it meanwhile. Undefined: the group is gone, or has no freezer.
 */
export async function freeze (cgroup: ContainerCgroup, seconds: number, files: ControlFiles = kernel): Promise<FreezerState | undefined> {
  await ask(cgroup, true, files)
  const state = await settle(cgroup, (now) => now !== 'freezing', seconds, files)
  if (state === 'freezing') await ask(cgroup, false, files)
  return state
}

/** Thaws a group and waits until the kernel says that it is; a group above that is frozen keeps it `frozen`. */
export async function thawAndWait (cgroup: ContainerCgroup, seconds: number, files: ControlFiles = kernel): Promise<FreezerState | undefined> {
  await ask(cgroup, false, files)
  return await settle(cgroup, (now) => now === 'thawed' || now === undefined, seconds, files)
}

/** where a frozen process sleeps in the kernel: v1, v2 */
const frozenAt = new Set(['__refrigerator', 'do_freezer_trap'])
const namedAtMost = 5

/** Processes of a group that is freezing and that have not stopped: `pid (name) in kernel function`, for whoever has to find out why. */
export async function unfrozen (cgroup: ContainerCgroup): Promise<string[]> {
  const found: string[] = []
  for (const pid of await processesOf(cgroup)) {
    if (found.length >= namedAtMost) break
    try {
      const place = (await readFile(`/proc/${pid}/wchan`, 'utf8')).trim()
      if (!frozenAt.has(place)) found.push(`${pid} (${(await readFile(`/proc/${pid}/comm`, 'utf8')).trim()}) in ${place === '0' || place === '' ? 'user code' : place}`)
    } catch {
      // it has ended, or /proc does not tell
    }
  }
  return found
}
