import { LongshoreError, hasCode } from '../errors.ts'
import { blockedBy } from '../runtime/blocked.ts'
import { processesOf, thaw } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/**
 * Sends a signal to every process of the container's cgroup. Each is held by a pidfd (pidfd_open(2)) and looked up
 * in the group once more before it is signalled, so that a recycled pid is never hit. Returns how many got it.
 */
export async function signalAll (supervisor: Supervisor, container: Container, signal: number): Promise<number> {
  const cgroup = container.run?.cgroup
  if (cgroup == null) return 0
  const { monitor } = supervisor.options.watch
  const held = new Map<number, number>()
  let sent = 0
  try {
    for (const pid of await processesOf(cgroup)) {
      try {
        held.set(pid, monitor.openProcess(pid))
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error
      }
    }
    const still = new Set(await processesOf(cgroup))
    for (const [pid, token] of held) {
      if (!still.has(pid)) continue
      try {
        monitor.signal(token, signal)
        sent++
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error
      }
    }
  } finally {
    for (const token of held.values()) monitor.drop(token)
  }
  // A frozen group acts on a fatal signal only when it is thawed (v1); the kernel lets SIGKILL through on v2.
  if (signal === 9) await thaw(cgroup)
  return sent
}

const rounds = 50

/** SIGKILL until the group is empty: a process may fork while its fellows are being killed. False when it does not empty. */
export async function killAll (supervisor: Supervisor, container: Container): Promise<boolean> {
  for (let round = 0; round < rounds; round++) {
    if (await signalAll(supervisor, container, 9) === 0) return true
    await new Promise((resolve) => setTimeout(resolve, Math.min(2 ** round, 100)))
  }
  return false
}

/** SIGKILL to init, frozen or not; the kernel takes the rest of its pid namespace along. */
export async function killInit (supervisor: Supervisor, container: Container): Promise<void> {
  try {
    container.shim?.signalInit(9)
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error
  }
  const cgroup = container.run?.cgroup
  if (cgroup != null) await thaw(cgroup)
}

/** Resolves true when the container has stopped (or gone), false after so many seconds. */
export async function stopped (container: Container, seconds: number): Promise<boolean> {
  if (container.status === 'stopped' || container.status === 'deleting') return true
  return await new Promise((resolve) => {
    const timer = setTimeout(() => finish(false), seconds * 1000)
    const forget = container.onChange((change) => { if (change !== 'process-exited') finish(true) })
    function finish (result: boolean): void {
      clearTimeout(timer)
      forget()
      resolve(result)
    }
  })
}

/** seconds after SIGKILL past which nobody waits for what is dead and only held by a tracer: no signal hurries that */
export const heldLimit = 3

/** stopped(), after SIGKILL; throws `timeout` that names what blocks as soon as it is clear that it is a tracer. */
export async function stoppedUnlessHeld (container: Container, seconds: number, task: Task<unknown>): Promise<boolean> {
  if (await stopped(container, heldLimit)) return true
  if ((await blockedBy(container))?.held === true) throw await notEnded(container, heldLimit, task)
  return await stopped(container, seconds - heldLimit)
}

/** `timeout`, whose step names what keeps the container from ending so many seconds after SIGKILL. */
export async function notEnded (container: Container, seconds: number, task: Task<unknown>): Promise<LongshoreError> {
  const why = await blockedBy(container).catch(() => undefined)
  const step = why === undefined ? task.step : `${task.step}; ${why.text}`
  return new LongshoreError('timeout', `container ${container.id} did not end within ${seconds} s of SIGKILL; it is at: ${step}`, { extra: { step, taskId: task.id } })
}
