import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { Container } from '../runtime/container.ts'
import type { ContainerView } from '../schemas/index.ts'
import { armRestart } from './restart.ts'
import { StopTask } from './stop.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

/** seconds until the next try to end a container that did not end */
const again = 30

export function armLease (supervisor: Supervisor, container: Container): void {
  const { expiresAt } = container.lifecycle
  if (expiresAt === null) supervisor.deadlines.clear('lease', container.id)
  else supervisor.deadlines.set('lease', container.id, Date.parse(expiresAt))
}

/** Of a container found at the start of the daemon; `told`: the types of events of its run. One that came while no daemon ran is due at once. */
export function takeUpLease (supervisor: Supervisor, container: Container, told: ReadonlySet<string>): void {
  const { lifecycle } = container
  // Told before it was written down. A lease that was renewed after that lies in the future.
  if (told.has('StateExpire') && lifecycle.expiresAt !== null && Date.parse(lifecycle.expiresAt) <= Date.now()) lifecycle.expired = true
  if (container.lastEventId !== null || told.has('StateCreate')) armLease(supervisor, container)
}

/** RFC 3339, so many seconds from now. */
export function leaseEnd (timeToLive: number): string {
  return new Date(Date.now() + timeToLive * 1000).toISOString()
}

/** Renews the lease of a container, gives it one, or takes it away. On disk before it is answered. */
export class LeaseTask extends Task<ContainerView> {
  readonly kind = 'lease'
  // A slow runtime must not cost a container its lease.
  override readonly lane = 'free'
  override readonly mutates = true
  readonly #timeToLive: number | null

  constructor (input: { containerId: string, timeToLive: number | null }, context?: TaskContext) {
    super(input.containerId, context)
    this.#timeToLive = input.timeToLive
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    const { lifecycle } = container
    if (lifecycle.expired && (container.status !== 'stopped' || container.renewing)) {
      throw new LongshoreError('lease_expired', `the lease of container ${container.id} ended at ${lifecycle.expiresAt ?? ''}; it is being stopped`)
    }
    lifecycle.expiresAt = this.#timeToLive === null ? null : leaseEnd(this.#timeToLive)
    lifecycle.expired = false
    armLease(supervisor, container)
    await container.save()
    return container.view()
  }
}

/** A lease has ended: told, then the container is stopped, as by request. One that has stopped already only stays so. */
export class ExpireTask extends Task<void> {
  readonly kind = 'stop'
  override readonly lane = 'free'
  override readonly internal = true

  async execute (supervisor: Supervisor): Promise<void> {
    const container = supervisor.containers.get(this.containerId ?? '')
    if (container === undefined) return
    const { lifecycle } = container
    const { expiresAt } = lifecycle
    if (expiresAt === null || Date.parse(expiresAt) > Date.now()) return armLease(supervisor, container)
    const idle = container.status === 'stopped' && !container.renewing
    const end = (): void => {
      lifecycle.expired = true
      if (lifecycle.restart.nextAt !== null) Object.assign(lifecycle.restart, { nextAt: null, reason: 'expired' })
      armRestart(supervisor, container)
    }
    if (!lifecycle.expired) {
      if (idle && lifecycle.restart.nextAt === null) end()
      else await supervisor.publish(container, 'StateExpire', { task: this, more: { expiresAt }, apply: end })
      failpoint('lease.told')
      // Not awaited: a disk that is full must not keep it running. What was told is found again from the event.
      supervisor.save(container)
    }
    if (idle && container.status === 'stopped' && !container.renewing) return
    try {
      await supervisor.send(new StopTask({ containerId: container.id, standDown: false }))
    } catch (error) {
      // It is being deleted, or was: that ends it as well.
      if (container.status === 'deleting' || supervisor.containers.get(container.id) !== container) return
      supervisor.log.error({ err: error, container: container.id }, 'a container whose lease has ended could not be stopped; it is tried again')
      supervisor.deadlines.set('lease', container.id, Date.now() + again * 1000)
    }
  }
}
