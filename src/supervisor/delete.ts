import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { ExitView } from '../schemas/index.ts'
import type { Container } from '../runtime/container.ts'
import type { Process } from '../runtime/process.ts'
import { removeTree } from '../runtime/files.ts'
import { processesOf } from '../runtime/cgroup.ts'
import { killAll, killInit, stopped } from './kill.ts'
import { clearRun, runtimeArguments, save, tellOom } from './run.ts'
import { isLive } from '../runtime/states.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

export type DeleteInput = {
  containerId: string
  /** only this run; without it, whichever is current */
  runId?: string
  process?: Process
  /** how the run ended, to be told before it is torn down */
  exit?: ExitView
  /** a failed start is torn down without a StateExit */
  noEvent?: boolean
  /** remove the container too, not only its run */
  remove?: boolean
  /** kill a live one first */
  force?: boolean
}

/** seconds that a killed container has to be gone */
const killLimit = 20
/** seconds for a runtime call made without a shim, and for a shim to quit */
const directLimit = 30
const quitLimit = 2

/**
 * The one owner of `runtime delete`: tells the exit, tears the run down, and removes the container when asked
 * (or when it removes itself). Each step is skipped when it was done before, so it can be repeated.
 */
export class DeleteTask extends Task<void> {
  readonly kind = 'delete'
  override readonly lane: 'container' | 'free'
  override readonly internal: boolean
  override timeout = 60
  readonly #input: DeleteInput

  constructor (input: DeleteInput, context?: TaskContext) {
    super(input.containerId, context)
    this.#input = input
    this.internal = input.exit !== undefined || input.noEvent === true
    // A forced one waits for the exit, whose task comes through the container's lane: it must not hold the lane.
    this.lane = input.force === true ? 'free' : 'container'
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const { containerId, runId, exit, process: ended, noEvent, remove, force } = this.#input
    if (force === true) {
      await this.#killAndRemove(supervisor)
      return
    }
    const container = supervisor.find(containerId)
    if (runId !== undefined && container.run?.runId !== runId) return
    if (exit !== undefined && noEvent !== true) await this.#tell(supervisor, container, ended, exit)
    if (remove === true) container.mayMove('remove')
    const gone = remove === true || (exit !== undefined && container.autoRemove)
    const began = process.hrtime.bigint()
    try {
      await tearDown(supervisor, this, container)
    } catch (error) {
      supervisor.log.error({ err: error, container: container.id }, 'the run could not be torn down; deleting the container tries again')
      if (remove === true) throw error
      return
    }
    if (gone) await removeContainer(supervisor, this, container)
    else save(supervisor, container)
    supervisor.options.observe('delete', Number(process.hrtime.bigint() - began) / 1e9)
  }

  /** A create or start that is under way finishes first (it holds the lane), and what it started is then killed too. */
  async #killAndRemove (supervisor: Supervisor): Promise<void> {
    const context = this.requestId === undefined ? {} : { requestId: this.requestId }
    for (;;) {
      const container = supervisor.containers.get(this.#input.containerId)
      if (container !== undefined) await this.#kill(supervisor, container)
      this.step = 'waiting for its turn'
      try {
        await supervisor.send(new DeleteTask({ containerId: this.#input.containerId, remove: true }, context))
        return
      } catch (error) {
        if (!(error instanceof LongshoreError) || error.code !== 'container_running') throw error
      }
    }
  }

  async #kill (supervisor: Supervisor, container: Container): Promise<void> {
    const deadline = Date.now() + killLimit * 1000
    while (isLive(container.status)) {
      this.step = 'waiting for the killed container to end'
      await killInit(supervisor, container)
      if (await stopped(container, 1)) return
      await killAll(supervisor, container)
      if (Date.now() > deadline) {
        throw new LongshoreError('timeout', `container ${container.id} did not end within ${killLimit} s of SIGKILL`, { extra: { step: this.step, taskId: this.id } })
      }
    }
  }

  async #tell (supervisor: Supervisor, container: Container, ended: Process | undefined, exit: ExitView): Promise<void> {
    const init = ended ?? container.init
    const { run } = container
    if (init === undefined || run === null || run.exit !== null) return
    this.step = 'writing the journal'
    const kills = init.ended?.oomKills
    if (kills != null) await tellOom(supervisor, container, run.runId, kills)
    await supervisor.publish(container, 'StateExit', {
      task: this,
      process: init,
      exit,
      apply: () => {
        container.move('exit')
        init.status = run.phase = 'stopped'
        init.exit = run.exit = exit
        container.changed('stopped')
      }
    })
    container.shim?.acknowledge()
  }
}

/** Ends whatever is left of the current run: processes, the runtime's state, the shim, the state directory. */
export async function tearDown (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { run, shim } = container
  if (run === null || run.tornDown) return
  // Processes that outlived init (a pid namespace shared with the host) are not for the runtime to find.
  if (run.exit !== null && run.cgroup !== null && (await processesOf(run.cgroup)).length > 0) await killAll(supervisor, container)
  const force = run.exit === null || run.exit.reason === 'start-failed'
  let done = false
  if (shim !== undefined && !shim.gone) {
    try {
      const result = await supervisor.runtimeCall(task, 'runtime delete', async (got) => {
        got(shim)
        return await shim.delete(force)
      })
      done = result.waitStatus === 0 && result.error === 0
    } catch (error) {
      supervisor.log.warn({ err: error, container: container.id }, 'the shim could not delete the run; the daemon does it itself')
    }
  }
  if (!done) await deleteDirectly(supervisor, task, container)
  if (run.cgroup !== null && run.exit === null) await killAll(supervisor, container)
  if (shim !== undefined && !shim.gone) {
    task.step = 'waiting for the shim to end'
    shim.acknowledge()
    shim.quit()
    const timer = setTimeout(() => shim.kill(), quitLimit * 1000)
    await shim.ended
    clearTimeout(timer)
  }
  await clearRun(supervisor, container)
}

/** `runtime delete --force` without a shim. Whether it was needed is decided by the runtime's `state`, never by its wording. */
async function deleteDirectly (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { run } = container
  if (run === null) return
  // The directory went with a reboot, perhaps; the runtime's log is to be written somewhere.
  await mkdir(container.runDir, { recursive: true, mode: 0o700 })
  const call = async (...command: string[]): Promise<number | null> => {
    task.step = `runtime ${command[0] ?? ''}`
    const { watch } = supervisor.options
    const args = [...runtimeArguments(supervisor, container), ...command, container.runtimeId]
    const { process: token } = await watch.monitor.run({ path: run.runtimePath, args, env: Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`), stdio: join(container.runDir, 'runtime.err') })
    const timer = setTimeout(() => { try { watch.monitor.signal(token, 9) } catch { /* it has ended */ } }, directLimit * 1000)
    const status = await watch.ended(token)
    clearTimeout(timer)
    return status
  }
  try {
    if (await call('delete', '--force') === 0) return
  } catch (error) {
    // A runtime that cannot even be executed never made anything.
    if (run.pid === null && ['ENOENT', 'ENOEXEC', 'EACCES'].some((code) => hasCode(error, code))) return
    throw error
  }
  if (await call('state') !== 0) return
  throw new LongshoreError('runtime_failed', `runtime delete: the runtime still knows ${container.runtimeId} after delete --force`, { extra: { step: 'runtime delete' } })
}

/** The container itself goes: its record, its output, and then the word to everyone. */
export async function removeContainer (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  container.move('remove')
  task.step = 'removing the container'
  await container.forget()
  // Told before the files go: a crash between the two leaves a record that the journal says is deleted, never the reverse.
  await supervisor.publish(container, 'StateDelete', {
    task,
    apply: () => {
      supervisor.containers.delete(container.id)
      container.changed('removed')
    }
  })
  await removeTree(container.root)
}
