import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { nowNs } from '../native/index.ts'
import { windowOf } from '../runtime/bundle.ts'
import type { Container } from '../runtime/container.ts'
import { execSpec } from '../runtime/exec-spec.ts'
import { whenExecuted } from '../runtime/executed.ts'
import { timestamp } from '../runtime/exit.ts'
import { writeWhole } from '../runtime/files.ts'
import { readOutput } from '../runtime/log-text.ts'
import { runtimeError, runtimeWords } from '../runtime/oci.ts'
import { Process } from '../runtime/process.ts'
import { ShimGone, type RuntimeResult, type Shim } from '../runtime/shim.ts'
import type { ExecRequest } from '../schemas/index.ts'
import { watchExec } from './exec-exit.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** ESRCH: init has ended, the shim says */
const initGone = 3
/** seconds from the runtime's word to the process's execve(2) */
const execLimit = 5
const wordsLimit = 4096
/** PF_EXITING of linux/sched.h, in the flags of /proc/PID/stat */
const exiting = 4

/**
 * Starts a process beside init, through the container's shim. Runs beside the container's lane, any number at once; from its
 * first moment it is one of the container's processes (`starting`), so init's exit is told after it.
 */
export class ExecTask extends Task<Process> {
  readonly kind = 'exec'
  override readonly lane = 'free'
  override readonly mutates = true
  override timeout: number
  readonly #input: ExecRequest
  readonly #noInput: boolean

  constructor (input: { containerId: string, request: ExecRequest, noInput: boolean, timeout: number }, context?: TaskContext) {
    super(input.containerId, context)
    this.#input = input.request
    this.#noInput = input.noInput
    // The call of the runtime has its own deadline, whose answer says more.
    this.timeout = input.timeout + 15
  }

  async execute (supervisor: Supervisor): Promise<Process> {
    const container = supervisor.find(this.containerId ?? '')
    const { run, shim } = container
    mayExec(container)
    if (run === null || shim === undefined) throw notRunning(container)
    const id = this.#input.id ?? `p-${randomBytes(8).toString('hex')}`
    const taken = (): LongshoreError => new LongshoreError('process_exists', `container ${container.id} has, or had in this run, a process ${id} already`)
    if (container.processes.has(id) || container.starting.has(id)) throw taken()
    // One that was given up may still come: its directory is not another's until then.
    if (shim.processes.find(id)?.freed === false) throw taken()
    const process = new Process(id, execSpec(run.process, this.#input), container.processDir(id))
    container.starting.set(id, process)
    try {
      // One that was forgotten: its exit is in the journal under this id.
      if (this.#input.id !== undefined && await supervisor.options.journal.exitOf({ containerId: container.id, runId: run.runId, processId: id }) !== undefined) throw taken()
      await this.#start(supervisor, container, process, shim)
    } catch (error) {
      container.starting.delete(id)
      if (process.handle?.freed === false) {
        if (process.handle.asked === 0) shim.processes.leave(process.handle)
        // Of a call that was made: a runtime that not even SIGKILL ends, or a process that came of it. Neither is wanted any more.
        else abandon(shim, process)
      }
      // Others wait for its end, also where its directory cannot be removed.
      await process.forget().finally(() => process.settle())
      throw error
    }
    await tellStarted(supervisor, this, container, process)
    return process
  }

  async #start (supervisor: Supervisor, container: Container, process: Process, shim: Shim): Promise<void> {
    this.step = 'writing its record'
    await process.save()
    failpoint('exec.recorded')
    const handle = process.handle = shim.processes.take(process.id)
    const files = (kind: string): string => join(container.runDir, `exec-${handle.slot}.${kind}`)
    const window = windowOf(process.spec) ?? { width: 80, height: 24 }
    let result: RuntimeResult
    try {
      // Where init ends meanwhile, the directory goes with its run.
      await writeWhole(files('json'), JSON.stringify(process.spec))
      result = await supervisor.runtimeCall(this, 'runtime exec', async (got) => {
        // It may have waited for its place.
        mayExec(container)
        if (process.cancelled) throw notRunning(container)
        got({ abort: () => shim.processes.abort(handle), kill: () => handle.giveUp(new ShimGone()) })
        const asked = shim.processes.start(handle, { terminal: process.spec.terminal === true, noInput: this.#noInput, window })
        failpoint('exec.asked')
        return await asked
      })
    } catch (error) {
      if (process.cancelled) throw notRunning(container)
      throw error
    } finally {
      await rm(files('json'), { force: true })
    }
    if (result.error === initGone) throw notRunning(container)
    if (result.waitStatus !== 0 || result.error !== 0) {
      if (process.cancelled || await initEnded(container, shim)) throw notRunning(container)
      throw runtimeError('runtime exec', result, await runtimeWords(files('log'), files('err')) ?? await said(process))
    }
    if (result.pid <= 0) throw new LongshoreError('runtime_crashed', 'runtime exec: the runtime reported success but made no process', { extra: { step: 'runtime exec' } })
    process.pid = result.pid
    failpoint('exec.called')
    if (!await whenExecuted(result.pid, execLimit)) supervisor.log.warn({ container: container.id, process: process.id, pid: result.pid }, 'the runtime reported success, but the process does not seem to have executed its command')
  }
}

/** The process runs: told, and from then on watched. Also for one that an earlier daemon had started and not told of. */
export async function tellStarted (supervisor: Supervisor, task: Task<unknown>, container: Container, process: Process): Promise<void> {
  task.step = 'writing the journal'
  const startedAt = timestamp(nowNs())
  await supervisor.publish(container, 'StateStartProcess', {
    task,
    process,
    apply: () => {
      process.status = 'running'
      process.startedAt = startedAt
      container.starting.delete(process.id)
      container.processes.set(process.id, process)
      process.begin()
    }
  })
  failpoint('exec.told')
  process.save().catch((error: unknown) => {
    supervisor.log.error({ err: error, container: container.id, process: process.id }, 'the record of the process could not be written')
  })
  watchExec(supervisor, container, process)
}

/** Kills what an exec that was given up may still become, and frees its slot. */
export function abandon (shim: Shim, { handle }: Pick<Process, 'handle'>): void {
  if (handle === undefined) return
  shim.processes.abort(handle)
  handle.onExit = handle.onLost = () => shim.processes.acknowledge(handle)
  handle.onStarted = () => {
    try {
      handle.signal(9)
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error
    }
  }
  if (handle.exit !== undefined || handle.lost) shim.processes.acknowledge(handle)
  else if (handle.pid > 0) handle.onStarted()
}

function notRunning (container: Container): LongshoreError {
  return new LongshoreError('container_not_running', `container ${container.id} is not running, so nothing can be executed in it`)
}

/** Throws unless the container runs. */
function mayExec (container: Container): void {
  if (container.status === 'paused' || container.status === 'pausing') throw new LongshoreError('container_paused', `container ${container.id} is ${container.status}: nothing can be executed in it until it is resumed`)
  if (container.status !== 'running' || container.init?.ended !== undefined) throw notRunning(container)
}

/** The runtime's failure may come before the notice of init's end that caused it. */
export async function initEnded (container: Container, shim: Shim): Promise<boolean> {
  if (container.init?.ended !== undefined || shim.gone || !shim.initWatched || container.init?.pid == null) return true
  const stat = await readFile(`/proc/${container.init.pid}/stat`, 'latin1').catch(() => '')
  // proc(5): behind the name, which may hold parentheses itself, come the state and, as the seventh, the kernel's flags. Init of a pid
  // namespace is neither dead nor a zombie while the kernel ends the rest of that, and nothing can enter it any more.
  const [state = '', , , , , , flags] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return stat === '' || 'XZ'.includes(state) || (Number(flags) & exiting) !== 0
}

/** What the runtime wrote on the streams that it was to hand on. */
async function said (process: Process): Promise<string | undefined> {
  if (process.directory === undefined) return undefined
  const { stdout, stderr } = await readOutput(process.directory, wordsLimit)
  const words = (stderr.text + stdout.text).trim()
  return words === '' ? undefined : words
}
