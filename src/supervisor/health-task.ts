import { failpoint } from '../failpoints.ts'
import type { Container, RunRecord } from '../runtime/container.ts'
import type { HealthView } from '../schemas/index.ts'
import { SignalTask } from './signal.ts'
import { StopTask } from './stop.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'

/** seconds until the next try to end a container that did not end */
const again = 30

/**
 * The health of a run has changed: told, and where it is unhealthy, acted on. Without `health` it was told before, by this
 * daemon or the one before it, and only the action is left.
 */
export class HealthTask extends Task<void> {
  readonly kind = 'health'
  override readonly lane = 'free'
  override readonly internal = true
  readonly #container: Container
  readonly #run: RunRecord
  readonly #health: HealthView | undefined

  constructor (input: { container: Container, run: RunRecord, health?: HealthView }) {
    super(input.container.id)
    this.#container = input.container
    this.#run = input.run
    this.#health = input.health
  }

  async execute (supervisor: Supervisor): Promise<void> {
    if (this.#health !== undefined) await this.#tell(supervisor, this.#health)
    const { health, healthCheck } = this.#container.lifecycle
    if (health.status !== 'unhealthy' || healthCheck === null || healthCheck.onUnhealthy === 'none' || !this.#current) return
    try {
      await this.#act(supervisor, healthCheck.onUnhealthy)
    } catch (error) {
      supervisor.log.error({ err: error, container: this.#container.id }, 'an unhealthy container could not be ended; it is tried again')
      if (this.#current) supervisor.deadlines.set('health', this.#container.id, Date.now() + again * 1000)
    }
  }

  get #current (): boolean {
    const { status, run } = this.#container
    return run === this.#run && (status === 'running' || status === 'stopping')
  }

  async #tell (supervisor: Supervisor, health: HealthView): Promise<void> {
    const container = this.#container
    const { journal } = supervisor.options
    const state = container.lifecycle.health
    this.step = 'writing the journal'
    // The record may never be behind what was told; the journal says whether it was.
    state.telling = { health, after: journal.positionId(journal.head) }
    try {
      await container.save()
      failpoint('health.recorded')
      // It may have ended while that was written: nothing is told of a run behind its exit.
      if (!this.#current) return
      await supervisor.publish(container, 'StateHealth', { task: this, more: { health }, apply: () => { Object.assign(state, health) } })
    } finally {
      state.telling = null
    }
    failpoint('health.told')
    supervisor.save(container)
  }

  async #act (supervisor: Supervisor, action: 'restart' | 'stop' | 'kill'): Promise<void> {
    const { id, lifecycle } = this.#container
    this.step = `unhealthy: ${action}`
    supervisor.log.warn({ container: id, run: this.#run.runId, action, output: lifecycle.health.output }, 'a container is unhealthy')
    if (action === 'kill') {
      await supervisor.send(new SignalTask({ containerId: id, signal: 9 }))
    } else if (action === 'stop') {
      await supervisor.send(new StopTask({ containerId: id }))
    } else if (!lifecycle.restart.stopped) {
      // On disk before it is stopped, so that whoever sees its end knows what is to follow.
      lifecycle.restart.unhealthy = this.#run.runId
      await this.#container.save()
      failpoint('health.acting')
      await supervisor.send(new StopTask({ containerId: id, standDown: false }))
    }
  }
}
