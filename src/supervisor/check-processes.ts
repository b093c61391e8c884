import { hasCode } from '../errors.ts'
import { readFiles } from '../native/index.ts'
import { processesOf } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'

/** in the environment of everything that a check starts, unless it takes it away */
export const markerName = 'LONGSHORE_HEALTH_CHECK'

const environLimit = 128 * 1024

type Facts = { pid: number, parent: number, session: number, marked: boolean }

/**
 * SIGKILL to what a check has started: processes of the container's cgroup with its marker, children of `runtimePid`, and what
 * descends from them or shares a session with them. Init is never one of them. Each is held by a pidfd and looked at once more
 * before it is signalled, so that a recycled pid is never hit. Returns how many got it.
 */
export async function killCheck (supervisor: Supervisor, container: Container, marker: string, runtimePid?: number): Promise<number> {
  const cgroup = container.run?.cgroup
  if (cgroup == null) return 0
  const { monitor } = supervisor.options.watch
  const init = container.run?.pid ?? 0
  const held = new Map<number, number>()
  let sent = 0
  try {
    for (const pid of ofCheck(await factsOf(await processesOf(cgroup), marker), init, runtimePid)) {
      try {
        held.set(pid, monitor.openProcess(pid))
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error
      }
    }
    if (held.size === 0) return 0
    const still = ofCheck(await factsOf(await processesOf(cgroup), marker), init, runtimePid)
    for (const [pid, token] of held) {
      if (!still.has(pid)) continue
      try {
        monitor.signal(token, 9)
        sent++
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error
      }
    }
  } finally {
    for (const token of held.values()) monitor.drop(token)
  }
  return sent
}

async function factsOf (pids: number[], marker: string): Promise<Facts[]> {
  const { texts } = await readFiles(pids.flatMap((pid) => [`/proc/${pid}/stat`, `/proc/${pid}/environ`]), environLimit)
  const entry = `${markerName}=${marker}`
  return pids.flatMap((pid, at) => {
    const stat = texts[2 * at]
    if (stat == null) return []
    // proc(5): state, parent, group and session stand behind the name, which may hold parentheses itself
    const [state, parent, , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return []
    return [{ pid, parent: Number(parent), session: Number(session), marked: texts[2 * at + 1]?.split('\0').includes(entry) ?? false }]
  })
}

function ofCheck (facts: Facts[], init: number, runtimePid: number | undefined): Set<number> {
  const found = new Set<number>()
  for (let before = -1; before !== found.size;) {
    before = found.size
    for (const { pid, parent, session, marked } of facts) {
      if (pid !== init && (marked || parent === runtimePid || found.has(parent) || found.has(session))) found.add(pid)
    }
  }
  return found
}
