import type { ContainerView } from '../schemas/index.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** Reads one container; never waits for it. */
export class GetTask extends Task<ContainerView> {
  readonly kind = 'get'
  override readonly lane = 'free'

  constructor (input: { containerId: string }, context?: TaskContext) {
    super(input.containerId, context)
  }

  execute (supervisor: Supervisor): ContainerView {
    return supervisor.find(this.containerId ?? '').view()
  }
}
