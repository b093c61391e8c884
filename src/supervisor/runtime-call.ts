import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { Container } from '../runtime/container.ts'
import { globalArgs, runtimeError, runtimeWords } from '../runtime/oci.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/**
 * One call of the runtime for a live run, `<runtime> <global arguments> <command…> <id>`, without its shim: for what makes
 * no process that somebody would have to reap. Its log is its own, so its words are of this call. Killed past the
 * container's limit for calls. Throws runtime_failed, runtime_crashed, runtime_not_found or timeout.
 */
export async function callRuntime (supervisor: Supervisor, task: Task<unknown>, container: Container, command: [string, ...string[]]): Promise<void> {
  const { run } = container
  if (run === null) throw new LongshoreError('container_not_running', `container ${container.id} has no run`)
  const { watch } = supervisor.options
  const step = `runtime ${command[0]}`
  const log = join(container.runDir, `${command[0]}.log`)
  const errors = join(container.runDir, `${command[0]}.err`)
  const release = await supervisor.runtimePlace(task, step)
  let late = false
  try {
    await rm(log, { force: true })
    const args = [...globalArgs(container.runtimeArgs, dirname(container.runtimeDir), log), ...command, container.runtimeId]
    const env = Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`)
    const { process: token } = await watch.monitor.run({ path: run.runtimePath, args, env, stdio: errors })
    const ended = watch.ended(token)
    const timer = setTimeout(() => {
      late = true
      try {
        watch.monitor.signal(token, 9)
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) supervisor.log.error({ err: error, container: container.id }, `${step} cannot be ended`)
      }
    }, container.timeout * 1000)
    const waitStatus = await ended
    clearTimeout(timer)
    if (late) throw new LongshoreError('timeout', `${step} did not finish within ${container.timeout} s and was ended`, { extra: { step, taskId: task.id } })
    if (waitStatus === 0) return
    if (waitStatus === null) throw new LongshoreError('runtime_crashed', `${step}: nobody saw how the runtime ended`, { extra: { step } })
    throw runtimeError(step, { waitStatus, error: 0, pid: 0 }, await runtimeWords(log, errors))
  } catch (error) {
    if (!['ENOENT', 'ENOEXEC', 'EACCES'].some((code) => hasCode(error, code))) throw error
    throw new LongshoreError('runtime_not_found', `${step}: ${run.runtimePath} cannot be executed: ${(error as Error).message}`, { cause: error, extra: { step } })
  } finally {
    release()
  }
}
