import { LongshoreError } from '../errors.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** Forgets a process that has exited, and its output. Its exit stays in the journal. */
export class ForgetProcessTask extends Task<void> {
  readonly kind = 'delete'
  override readonly mutates = true
  readonly #processId: string

  constructor (input: { containerId: string, processId: string }, context?: TaskContext) {
    super(input.containerId, context)
    this.#processId = input.processId
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.find(this.containerId ?? '')
    const process = container.process(this.#processId)
    if (process.isInit) throw new LongshoreError('process_running', 'init goes with its container: delete that')
    if (process.exit === null) throw new LongshoreError('process_running', `process ${process.id} of container ${container.id} is running`)
    container.processes.delete(process.id)
    await process.forget()
  }
}
