import { failpoint } from '../failpoints.ts'
import { decideRestart } from './restart-policy.ts'
import { adoptRestart, tellRestart } from './restart.ts'
import { newRun } from './start.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'

/** The next try of a container that has ended. Whatever came in between (a stop, a start, a removal) has made it void. */
export class RestartTask extends Task<void> {
  readonly kind = 'start'
  override readonly internal = true

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.containers.get(this.containerId ?? '')
    if (container === undefined || container.status !== 'stopped') return
    const { lifecycle, run } = container
    const { restart } = lifecycle
    if (run === null || restart.nextAt === null || restart.decidedFor !== run.runId) return
    failpoint('restart.due')
    try {
      await newRun(supervisor, this, container)
    } catch (error) {
      supervisor.log.warn({ err: error, container: container.id, attempts: restart.attempts }, 'a container could not be started again')
      // A run that did not come to life has its own StateStartFailed, on which it was decided.
      if (container.run !== run) return
      const { restartPolicy: policy, expired } = lifecycle
      const exitedAt = new Date().toISOString()
      const decision = decideRestart({ policy, restart, runId: run.runId, startedAt: null, expired, exit: { status: null, signal: null, oomKilled: false, reason: 'start-failed', exitedAt, outputComplete: true } })
      adoptRestart(supervisor, container, decision)
      await tellRestart(supervisor, container, decision, this)
      supervisor.save(container)
    }
  }
}
