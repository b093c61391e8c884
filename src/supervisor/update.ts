import { join } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { ContainerView, ResourcesView, UpdateRequest } from '../schemas/index.ts'
import { cgroupOf, type ContainerCgroup } from '../runtime/cgroup.ts'
import { differs, inheritedSets, readKnobs, resetWeight, restoreKnobs, type Knobs } from '../runtime/cgroup-knobs.ts'
import type { Container, PendingUpdate } from '../runtime/container.ts'
import { writeWhole } from '../runtime/files.ts'
import { checkResources, composePatches, patchResources, updateOf } from '../runtime/resources.ts'
import { isLive } from '../runtime/states.ts'
import { callRuntime } from './runtime-call.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'

const labelsAtMost = 64

/** Labels with a merge patch laid over them. Throws bad_request when there would be too many. */
export function patchLabels (labels: Record<string, string>, patch: Record<string, string | null>): Record<string, string> {
  const patched = Object.fromEntries(Object.entries({ ...labels, ...patch }).filter((entry): entry is [string, string] => entry[1] !== null))
  if (Object.keys(patched).length > labelsAtMost) {
    throw new LongshoreError('bad_request', `a container may have ${labelsAtMost} labels`, { extra: { errors: [{ field: 'labels', rule: `must be ${labelsAtMost} at most, those that are there already counted` }] } })
  }
  return patched
}

/**
 * Changes the resources of a container, now if it runs and for every later start, and its labels. What is to be done is in the record first: a
 * daemon that ends in the middle is followed by one that does it to the end (`redo`). What the runtime or the kernel
 * refuses leaves everything as it was.
 */
export class UpdateTask extends Task<ContainerView> {
  readonly kind = 'update'
  override readonly mutates = true
  override readonly internal: boolean
  readonly #change: UpdateRequest | 'redo'

  constructor (input: { containerId: string, change: UpdateRequest | 'redo' }, context?: TaskContext) {
    super(input.containerId, context)
    this.#change = input.change
    this.internal = input.change === 'redo'
  }

  async execute (supervisor: Supervisor): Promise<ContainerView> {
    const container = supervisor.find(this.containerId ?? '')
    const change = this.#change
    if (change === 'redo') {
      await this.#redo(supervisor, container)
      return container.view()
    }
    if (container.status === 'deleting' || container.status === 'lost') throw new LongshoreError('invalid_state', `container ${container.id} is ${container.status}: update is not possible in this state`)
    if (change.resources === undefined && change.labels === undefined) return container.view()
    const overlay = composePatches(container.resources, change.resources ?? {})
    const labels = patchLabels(container.labels, change.labels ?? {})
    const base = container.run?.resources ?? {}
    const { journal } = supervisor.options
    if (change.resources !== undefined) await checkResources(patchResources(base, overlay))
    const pending = container.pending = { patch: change.resources ?? {}, resources: overlay, labels, after: journal.positionId(journal.head) }
    let goBack = async (): Promise<void> => {}
    try {
      this.step = 'writing the record'
      await container.save()
      failpoint('update.recorded')
      goBack = await this.#apply(supervisor, container, pending)
      failpoint('update.applied')
      await this.#tell(supervisor, container, pending)
    } catch (error) {
      // Once it is told it is so, whatever else fails.
      if (container.pending === pending) {
        await goBack()
        container.pending = undefined
        supervisor.save(container)
      }
      throw error
    }
    return container.view()
  }

  /** The daemon before this one ended in the middle of an update, and had told nobody. */
  async #redo (supervisor: Supervisor, container: Container): Promise<void> {
    const { pending } = container
    if (pending === undefined) return
    try {
      await this.#apply(supervisor, container, pending)
    } catch (error) {
      supervisor.log.warn({ err: error, container: container.id }, 'an update that the end of the daemon interrupted was refused; the container is as it was')
      container.pending = undefined
      supervisor.save(container)
      return
    }
    await this.#tell(supervisor, container, pending)
  }

  /** What runs is changed at once; one that has not begun, or has ended, gets it at its next start. Returns what undoes that. */
  async #apply (supervisor: Supervisor, container: Container, pending: PendingUpdate): Promise<() => Promise<void>> {
    const { run, init } = container
    const nothing = async (): Promise<void> => {}
    if (Object.keys(pending.patch).length === 0 || run === null || run.tornDown || run.exit !== null || init?.ended !== undefined) return nothing
    if (!isLive(container.status) && container.status !== 'created') return nothing
    const base = run.resources ?? {}
    const before = patchResources(base, container.resources)
    const wanted = patchResources(base, pending.resources)
    const cgroup = await limited(supervisor, container)
    const knobs = await readKnobs(cgroup)
    const asked = updateOf(pending.patch, before, wanted, await inheritedSets(cgroup))
    try {
      if (Object.keys(asked).length > 0) {
        const file = join(container.runDir, 'resources.json')
        await writeWhole(file, JSON.stringify(asked))
        await callRuntime(supervisor, this, container, ['update', '--resources', file])
      }
      if (before.blockIO?.weight !== undefined && wanted.blockIO?.weight === undefined) await resetWeight(cgroup)
      await expectSet(cgroup, asked)
    } catch (error) {
      await putBack(supervisor, container, cgroup, knobs)
      throw error
    }
    return async () => await putBack(supervisor, container, cgroup, knobs)
  }

  async #tell (supervisor: Supervisor, container: Container, pending: PendingUpdate): Promise<void> {
    this.step = 'writing the journal'
    await supervisor.publish(container, 'StateUpdate', { task: this, labels: pending.labels, apply: () => adopt(container, pending) })
    failpoint('update.told')
    supervisor.save(container)
  }
}

function adopt (container: Container, pending: PendingUpdate): void {
  container.labels = pending.labels
  container.resources = pending.resources
  container.pending = undefined
}

/** The groups through which the container is limited; a record of an earlier version does not have all of them. */
async function limited (supervisor: Supervisor, container: Container): Promise<ContainerCgroup> {
  const { run } = container
  if (run?.cgroup != null && run.cgroup.directories === undefined && run.pid !== null) run.cgroup = await cgroupOf(run.pid, supervisor.options.cgroups) ?? null
  if (run?.cgroup == null) throw new LongshoreError('invalid_state', `container ${container.id} has no cgroup of its own, so its resources cannot be changed while it runs`)
  return run.cgroup
}

/** A success of the runtime is believed when the kernel shows it. */
async function expectSet (cgroup: ContainerCgroup, asked: ResourcesView): Promise<void> {
  const wrong = differs(cgroup, await readKnobs(cgroup), asked)
  if (wrong !== undefined) throw new LongshoreError('runtime_failed', `runtime update: the runtime reported success, but ${wrong}`, { extra: { step: 'runtime update' } })
}

async function putBack (supervisor: Supervisor, container: Container, cgroup: ContainerCgroup, knobs: Knobs): Promise<void> {
  const wrong = await restoreKnobs(cgroup, knobs).catch((error: unknown) => [String(error)])
  if (wrong.length > 0) supervisor.log.error({ container: container.id, wrong }, 'after an update that was refused, some limits of the container could not be put back')
}

/** An update that the daemon before this one had told, but not yet written down: before anybody sees the container. */
export async function adoptTold ({ options: { journal } }: Supervisor, container: Container): Promise<void> {
  const { pending } = container
  if (pending === undefined) return
  if (await journal.tells({ after: pending.after, containerId: container.id, type: 'StateUpdate' })) adopt(container, pending)
}

/** For a container whose record says that an update is under way that nobody was told of. */
export async function finishUpdate (supervisor: Supervisor, container: Container): Promise<void> {
  if (container.pending === undefined) return
  await supervisor.send(new UpdateTask({ containerId: container.id, change: 'redo' }))
}
