import { LongshoreError, hasCode } from '../errors.ts'
import { blockedBy } from '../runtime/blocked.ts'
import { thaw } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import type { Process } from '../runtime/process.ts'
import { signalAll } from './kill.ts'
import { wakeUp } from './resume.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

export type SignalInput = {
  containerId: string
  processId?: string | undefined
  /** a number of signal(7); 0 only probes */
  signal: number
  /** to every process of the container, not only the one named */
  all?: boolean | undefined
  /** a frozen container is thawed after it, so that it can act on it */
  thaw?: boolean
}

/** Finds the process in its container and sends it the signal by its pidfd (pidfd_send_signal(2)). */
export class SignalTask extends Task<void> {
  readonly kind = 'signal'
  readonly #input: SignalInput

  constructor (input: SignalInput, context?: TaskContext) {
    super(input.containerId, context)
    this.#input = input
  }

  /** Of itself a signal waits for nothing: the call never blocks, and the process gets it whenever it may. */
  execute (supervisor: Supervisor): Promise<void> | undefined {
    const { containerId, processId = 'init', signal, all, thaw: wake } = this.#input
    const container = supervisor.find(containerId)
    const target = container.processes.get(processId)
    if (target === undefined) throw new LongshoreError('process_not_found', `container ${containerId} has no process ${processId}`)
    container.mayMove('signal')
    if (target.status === 'stopped' || target.ended !== undefined) throw ended(container, target)
    if (all === true) return this.#toAll(supervisor, container, target)
    if (signal !== 0) target.asked = { signal, requestId: this.requestId }
    try {
      if (target.isInit) container.shim?.signalInit(signal)
      else target.handle?.signal(signal)
    } catch (error) {
      if (hasCode(error, 'ESRCH')) return this.#tooLate(container, target)
      throw error
    }
    if (wake === true) return this.#wake(supervisor, container)
    // SIGKILL reaches a frozen process only when it is thawed (cgroup v1). For a process beside init the rest stays as it is.
    return signal === 9 && target.isInit && container.run?.cgroup != null ? thaw(container.run.cgroup) : undefined
  }

  /** It is dead, and its exit has not been told yet: perhaps since a tracer holds it. */
  async #tooLate (container: Container, target: Process): Promise<never> {
    throw ended(container, target, (await blockedBy(container).catch(() => undefined))?.text)
  }

  async #toAll (supervisor: Supervisor, container: Container, target: Process): Promise<void> {
    const { signal } = this.#input
    if (await signalAll(supervisor, container, signal) === 0) throw ended(container, target)
    if (signal !== 0) target.asked = { signal, requestId: this.requestId }
  }

  async #wake (supervisor: Supervisor, container: Container): Promise<void> {
    // The signal is out. What stays frozen all the same is for the SIGKILL that follows, which thaws by another way.
    await wakeUp(supervisor, this, container).catch((error: unknown) => {
      supervisor.log.warn({ err: error, container: container.id }, 'a paused container could not be woken for its signal')
    })
  }
}

function ended (container: Container, process: Process, why?: string): LongshoreError {
  return new LongshoreError('container_not_running', `process ${process.id} of container ${container.id} has ended${why === undefined ? '' : `; ${why}`}`)
}
