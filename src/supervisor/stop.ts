import { LongshoreError } from '../errors.ts'
import type { ContainerView } from '../schemas/index.ts'
import { killAll, notEnded, stopped, stoppedUnlessHeld } from './kill.ts'
import { TurnTask, standDown } from './restart.ts'
import { SignalTask } from './signal.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** seconds that a container has to end after SIGKILL */
const killLimit = 20

/** Signal, grace, SIGKILL. Waits beside the container's lane, so that signals and the exit get through meanwhile. */
export class StopTask extends Task<ContainerView> {
  readonly kind = 'stop'
  override readonly lane = 'free'
  readonly #signal: number | undefined
  readonly #grace: number | undefined
  readonly #standDown: boolean

  /** `timeout`: seconds from the signal to SIGKILL. `standDown`, as by default: no restart policy starts it again. */
  constructor (input: { containerId: string, signal?: number, timeout?: number, standDown?: boolean }, context?: TaskContext) {
    super(input.containerId, context)
    this.#signal = input.signal
    this.#grace = input.timeout
    this.#standDown = input.standDown ?? true
    // The container's own grace is not known yet; execute() sets the deadline that goes with it.
    this.timeout = (input.timeout ?? 3600) + 2 * killLimit
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const id = this.containerId ?? ''
    const container = supervisor.find(id)
    if (this.#standDown) await standDown(supervisor, container)
    // What is just being started is not stopped yet, though it looks so: it is, after this turn.
    if (container.status === 'stopped' && container.renewing) {
      this.step = 'waiting for a start that is under way'
      await supervisor.send(new TurnTask(id))
    }
    if (container.status === 'stopped') return container.view()
    const neverStarted = container.status === 'created'
    container.move('stop')
    const grace = this.#grace ?? container.stopTimeout
    const context = this.requestId === undefined ? {} : { requestId: this.requestId }
    // What waits to run its command has no handler for a signal, and nothing to save.
    const signal = neverStarted ? 9 : this.#signal ?? container.stopSignal
    this.step = 'waiting for the container to end after the signal'
    await deliver(supervisor, new SignalTask({ containerId: id, signal, thaw: true }, context))
    if (!await stopped(container, grace)) {
      this.step = 'waiting for the container to end after SIGKILL'
      // When init has ended, its exit holds the lane until the processes beside it are gone, which it kills itself.
      if (container.init?.ended === undefined) await deliver(supervisor, new SignalTask({ containerId: id, signal: 9 }, context))
      if (!await stoppedUnlessHeld(container, killLimit, this)) {
        await killAll(supervisor, container)
        if (!await stopped(container, killLimit)) throw await notEnded(container, 2 * killLimit, this)
      }
    }
    return container.view()
  }
}

/** A container that ends by itself meanwhile is what was wanted. */
async function deliver (supervisor: Supervisor, task: SignalTask): Promise<void> {
  try {
    await supervisor.send(task)
  } catch (error) {
    if (!(error instanceof LongshoreError) || (error.code !== 'container_not_running' && error.code !== 'container_not_found')) throw error
  }
}
