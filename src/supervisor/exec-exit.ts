import type { ExitView } from '../schemas/index.ts'
import type { Process } from '../runtime/process.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'

/** A process other than init has ended: its exit is told and kept; the container goes on. */
export class ExecExitTask extends Task<void> {
  readonly kind = 'exec-exit'
  override readonly internal = true
  readonly #runId: string
  readonly #process: Process
  readonly #exit: ExitView

  constructor (input: { containerId: string, runId: string, process: Process, exit: ExitView }) {
    super(input.containerId)
    this.#runId = input.runId
    this.#process = input.process
    this.#exit = input.exit
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.containers.get(this.containerId ?? '')
    const process = this.#process
    if (container?.run?.runId !== this.#runId || process.exit !== null) return
    await supervisor.publish(container, 'StateExit', {
      task: this,
      process,
      exit: this.#exit,
      apply: () => {
        process.status = 'stopped'
        process.exit = this.#exit
        container.changed('process-exited')
      }
    })
  }
}
