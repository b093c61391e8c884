import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { Container } from '../runtime/container.ts'
import { readIfThere } from '../runtime/files.ts'
import { globalArgs, runtimeError, runtimeWords } from '../runtime/oci.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/**
 * SIGKILL to a runtime that Monitor.run() started and whose end has not been told yet, so that the group is still its own, and
 * to what it has started.
 */
export function endCall (pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error
  }
}

type Ended = { waitStatus: number | null, late: boolean, log: string, output: string }

/** One call, however it ends; its log and what it said are files of its own, so they are of this call. */
async function attempt (supervisor: Supervisor, task: Task<unknown>, container: Container, runtimePath: string, command: readonly [string, ...string[]]): Promise<Ended> {
  const { watch } = supervisor.options
  const log = join(container.runDir, `${command[0]}.log`)
  const output = join(container.runDir, `${command[0]}.err`)
  const release = await supervisor.runtimePlace(task, `runtime ${command[0]}`)
  let late = false
  try {
    await rm(log, { force: true })
    const args = [...globalArgs(container.runtimeArgs, dirname(container.runtimeDir), log), ...command, container.runtimeId]
    const env = Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`)
    const { pid, process: token } = await watch.monitor.run({ path: runtimePath, args, env, stdio: output })
    const ended = watch.ended(token)
    const timer = setTimeout(() => {
      late = true
      endCall(pid)
    }, container.timeout * 1000)
    const waitStatus = await ended
    clearTimeout(timer)
    return { waitStatus, late, log, output }
  } finally {
    release()
  }
}

/**
 * One call of the runtime for a live run, `<runtime> <global arguments> <command…> <id>`, without its shim: for what makes
 * no process that somebody would have to reap. Killed past the container's limit for calls.
 * Throws runtime_failed, runtime_crashed, runtime_not_found or timeout.
 */
export async function callRuntime (supervisor: Supervisor, task: Task<unknown>, container: Container, command: readonly [string, ...string[]]): Promise<void> {
  const { run } = container
  if (run === null) throw new LongshoreError('container_not_running', `container ${container.id} has no run`)
  const step = `runtime ${command[0]}`
  let ended: Ended
  try {
    ended = await attempt(supervisor, task, container, run.runtimePath, command)
  } catch (error) {
    throw unusable(step, run.runtimePath, error)
  }
  const { waitStatus, late, log, output } = ended
  if (late) throw new LongshoreError('timeout', `${step} did not finish within ${container.timeout} s and was ended`, { extra: { step, taskId: task.id } })
  if (waitStatus === 0) return
  if (waitStatus === null) throw new LongshoreError('runtime_crashed', `${step}: nobody saw how the runtime ended`, { extra: { step } })
  throw runtimeError(step, { waitStatus, error: 0, pid: 0 }, await runtimeWords(log, output))
}

/** runtime_not_found for the error of a runtime that cannot be executed, any other as it is. */
export function unusable (step: string, runtimePath: string, error: unknown): unknown {
  if (!isUnusable(error)) return error
  return new LongshoreError('runtime_not_found', `${step}: ${runtimePath} cannot be executed: ${(error as Error).message}`, { cause: error, extra: { step } })
}

/** True for the error of a runtime that is not there or cannot be executed. */
export function isUnusable (error: unknown): boolean {
  return ['ENOENT', 'ENOEXEC', 'EACCES'].some((code) => hasCode(error, code))
}

/** True when the runtime's `delete --force` succeeded. */
export async function deleteByForce (supervisor: Supervisor, task: Task<unknown>, container: Container, runtimePath: string): Promise<boolean> {
  return (await attempt(supervisor, task, container, runtimePath, ['delete', '--force'])).waitStatus === 0
}

/**
 * What the runtime's `state` says (OCI runtime specification, "State"): the status, `none` where it says, by its exit status,
 * that it does not know the container. Undefined when it does not come to say anything: a runtime that hangs or crashes knows nothing.
 */
export async function stateByRuntime (supervisor: Supervisor, task: Task<unknown>, container: Container, runtimePath: string): Promise<string | undefined> {
  const { waitStatus, late, output } = await attempt(supervisor, task, container, runtimePath, ['state'])
  if (late || waitStatus === null || (waitStatus & 0x7f) !== 0) return undefined
  if (waitStatus !== 0) return 'none'
  // Warnings of the runtime may be around it.
  const text = await readIfThere(output) ?? ''
  try {
    const { status } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as { status?: unknown }
    return typeof status === 'string' ? status : undefined
  } catch {
    return undefined
  }
}
