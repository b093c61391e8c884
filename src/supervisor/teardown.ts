import { mkdir } from 'node:fs/promises'
import { basename } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { processesOf, removeGroups } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import { exists, removeTree } from '../runtime/files.ts'
import type { Shim } from '../runtime/shim.ts'
import { killAll } from './kill.ts'
import { deleteByForce, isUnusable, stateByRuntime } from './runtime-call.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/** seconds that a shim has to quit */
const quitLimit = 2

/** runtimes whose delete is known to touch nothing but the container itself, and to refuse one that lives */
const known = new Set(['runc', 'crun'])

/**
 * Whether the runtime's delete may follow on the telling of an exit in the same turn of the loop: no process can be left, the group's count
 * of OOM kills has been read, the run is told of as running, and the runtime is one that refuses what lives. To be asked before the telling.
 */
export function deletableAtOnce ({ run, shim, init, status, ownPids }: Container): boolean {
  return run !== null && shim?.exit !== undefined && !shim.gone && init?.ended?.oomKills != null &&
    status === 'running' && ownPids && known.has(basename(run.runtimePath))
}

async function deleteByShim (supervisor: Supervisor, task: Task<unknown>, container: Container, shim: Shim, force: boolean): Promise<boolean> {
  try {
    const result = await supervisor.runtimeCall(task, 'runtime delete', async (got) => {
      got(shim)
      return await shim.delete(force)
    })
    return result.waitStatus === 0 && result.error === 0 && !await exists(container.runtimeDir)
  } catch (error) {
    supervisor.log.warn({ err: error, container: container.id }, 'the shim could not delete the run; the daemon does it itself')
    return false
  }
}

/** Ends whatever is left of the current run: processes, the runtime's state, the shim, the state directory. What was done before is skipped. `atOnce`: of deletableAtOnce(). */
export async function tearDown (supervisor: Supervisor, task: Task<unknown>, container: Container, atOnce = false): Promise<void> {
  const { run, shim } = container
  if (run === null || run.tornDown) return
  // Processes that outlived init (a pid namespace shared with the host) are not for the runtime to find.
  if (!atOnce && run.exit !== null && run.cgroup !== null && (await processesOf(run.cgroup)).length > 0) await killAll(supervisor, container)
  const force = run.exit === null || run.exit.reason === 'start-failed'
  const done = shim !== undefined && !shim.gone && await deleteByShim(supervisor, task, container, shim, force)
  if (!done) await deleteDirectly(supervisor, task, container)
  failpoint('teardown.deleted')
  if (run.cgroup !== null && run.exit === null) await killAll(supervisor, container)
  // A runtime that was killed before it had written its state knows nothing of the groups that it made.
  if (!done) await removeGroups(container.runtimeId, supervisor.options.cgroups, run.cgroup)
  if (shim !== undefined && !shim.gone) {
    task.step = 'waiting for the shim to end'
    shim.acknowledge()
    shim.quit()
    const timer = setTimeout(() => shim.kill(), quitLimit * 1000)
    await shim.ended
    clearTimeout(timer)
  }
  failpoint('teardown.quit')
  supervisor.options.watch.drop(container.oomToken)
  container.oomToken = undefined
  container.shim?.release()
  container.shim = undefined
  await removeTree(container.runDir)
  run.tornDown = true
  failpoint('teardown.cleared')
}

/** `runtime delete --force` without a shim. Whether it was needed is decided by the runtime's `state`, never by its wording. */
async function deleteDirectly (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { run } = container
  if (run === null) return
  // The directory went with a reboot, perhaps; the runtime's log is to be written somewhere.
  await mkdir(container.runDir, { recursive: true, mode: 0o700 })
  try {
    if (await deleteByForce(supervisor, task, container, run.runtimePath) && !await exists(container.runtimeDir)) return
  } catch (error) {
    // A runtime that cannot even be executed never made anything.
    if (run.pid === null && isUnusable(error)) return
    throw error
  }
  const state = await stateByRuntime(supervisor, task, container, run.runtimePath)
  if (state === 'none') {
    // Of a runtime that was killed in the middle, its state's directory may still be there, with a mount in it that its own delete stumbles over.
    await removeTree(container.runtimeDir)
    return
  }
  const why = state === undefined ? 'it cannot be found out whether the runtime still knows' : 'the runtime still knows'
  throw new LongshoreError('runtime_failed', `runtime delete: ${why} ${container.runtimeId} after delete --force`, { extra: { step: 'runtime delete' } })
}
