import type { ContainerView, RestartPolicyView } from '../schemas/index.ts'
import { armRestart } from './restart.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'
import { LongshoreError } from '../errors.ts'

/** Gives a container another restart policy. A try that is due stays, unless the new policy is `no`. */
export class PolicyTask extends Task<ContainerView> {
  readonly kind = 'policy'
  override readonly mutates = true
  readonly #policy: RestartPolicyView

  constructor (input: { containerId: string, policy: RestartPolicyView }, context?: TaskContext) {
    super(input.containerId, context)
    this.#policy = input.policy
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    if (this.#policy.name !== 'no' && container.autoRemove) throw notBoth()
    const { lifecycle } = container
    await supervisor.publish(container, 'StateUpdate', {
      task: this,
      apply: () => {
        lifecycle.restartPolicy = this.#policy
        // A run that has ended did so under the policy before.
        if (container.run?.exit != null) lifecycle.restart.decidedFor = container.run.runId
        if (this.#policy.name === 'no' && lifecycle.restart.nextAt !== null) Object.assign(lifecycle.restart, { nextAt: null, reason: 'withdrawn' })
        armRestart(supervisor, container)
      }
    })
    await container.save()
    return container.view()
  }
}

export function notBoth (): LongshoreError {
  return new LongshoreError('bad_request', 'a container that removes itself is not there to be started again: autoRemove goes with restartPolicy no only', {
    extra: { errors: [{ field: 'restartPolicy', rule: 'must be no, or absent, with autoRemove' }] }
  })
}
