import { randomBytes } from 'node:crypto'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { ContainerView, CreateRequest } from '../schemas/index.ts'
import { loadBundle } from '../runtime/bundle.ts'
import { Container, recordVersion } from '../runtime/container.ts'
import { nowNs } from '../native/index.ts'
import { timestamp } from '../runtime/exit.ts'
import { fullPolicy } from '../runtime/lifecycle.ts'
import { removeTree } from '../runtime/files.ts'
import { parseSignal } from '../runtime/signals.ts'
import { DeleteTask } from './delete.ts'
import { oneCheck } from './health.ts'
import { armLease, leaseEnd } from './lease.ts'
import { notBoth } from './policy.ts'
import { restorationOf, sourceOf } from './restoration.ts'
import { createRun } from './run.ts'
import { StartTask, startFailed } from './start.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

const defaultStopTimeout = 10

/** Makes a container from a bundle and, unless told otherwise, starts it. When either fails nothing of it stays. */
export class CreateTask extends Task<ContainerView> {
  readonly kind = 'create'
  override readonly mutates = true
  readonly #input: CreateRequest

  constructor (input: CreateRequest, context?: TaskContext) {
    super(input.id ?? `c-${randomBytes(8).toString('hex')}`, context)
    this.#input = input
    this.labels = input.labels
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const input = this.#input
    const id = this.containerId ?? ''
    if (supervisor.containers.has(id)) throw new LongshoreError('container_exists', `there is a container ${id} already${input.checkpoint === undefined ? '' : `: if it is stopped, POST /containers/${id}/start with a checkpoint lets it go on from there`}`)
    const unreadable = supervisor.quarantined.get(id)
    if (unreadable !== undefined) throw new LongshoreError('container_unreadable', `the record of container ${id} cannot be read, and something of it may still run: ${unreadable.path}: ${unreadable.reason}`)
    if (input.autoRemove === true && input.restartPolicy !== undefined && input.restartPolicy.name !== 'no') throw notBoth()
    const began = process.hrtime.bigint()
    const { options } = supervisor
    this.step = 'reading the bundle'
    const from = input.checkpoint === undefined ? undefined : await restorationOf(supervisor, sourceOf(input.checkpoint, id))
    // What is restored is as it was: also what was laid over the process of its bundle.
    const override = input.process ?? from?.process ?? undefined
    const bundle = await loadBundle(input.bundle, override)
    const container = new Container({
      version: recordVersion,
      id,
      bundle: input.bundle,
      runtime: input.runtime ?? options.runtime,
      // A runtime of the request's own choice comes with its own arguments only.
      runtimeArgs: input.runtimeArgs ?? (input.runtime === undefined ? options.runtimeArgs : []),
      noPivotRoot: input.noPivotRoot ?? false,
      labels: input.labels ?? {},
      process: override ?? null,
      autoRemove: input.autoRemove ?? false,
      stopSignal: parseSignal(input.stopSignal ?? 'SIGTERM'),
      stopTimeout: input.stopTimeout ?? defaultStopTimeout,
      createdAt: timestamp(nowNs()),
      lastEventId: null,
      lifecycle: {
        restartPolicy: input.restartPolicy === undefined ? null : fullPolicy(input.restartPolicy),
        expiresAt: input.timeToLive === undefined ? null : leaseEnd(input.timeToLive),
        healthCheck: input.healthCheck === undefined ? null : oneCheck(input.healthCheck, input.autoRemove === true)
      },
      run: null
    }, options.directories, options.startTimeout)
    let told = false
    try {
      await createRun(supervisor, this, container, bundle, from)
      this.step = 'writing the journal'
      await supervisor.publish(container, 'StateCreate', {
        task: this,
        ...(container.init === undefined ? {} : { process: container.init }),
        apply: () => {
          if (container.run !== null) container.run.phase = 'created'
          supervisor.containers.set(id, container)
          armLease(supervisor, container)
          told = true
        }
      })
      failpoint('create.told')
      supervisor.saveSoon(container)
      options.observe('create', Number(process.hrtime.bigint() - began) / 1e9)
    } catch (error) {
      if (told) throw error
      await this.#undo(supervisor, container, error)
    }
    if (input.start === false) return container.view()
    await StartTask.run(supervisor, this, container, 'remove')
    return container.view()
  }

  /** The runtime refused, or the daemon could not: the reason is told, and nothing stays. */
  async #undo (supervisor: Supervisor, container: Container, error: unknown): Promise<never> {
    container.lifecycle.restart.stopped = true
    await container.forget()
    await new DeleteTask({ containerId: container.id, container, noEvent: true }).execute(supervisor)
    await removeTree(container.root)
    if (container.run !== null) await startFailed(supervisor, this, container, error)
    throw error
  }
}
