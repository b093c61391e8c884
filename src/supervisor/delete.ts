import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { blockedBy } from '../runtime/blocked.ts'
import type { Container } from '../runtime/container.ts'
import { removeTree } from '../runtime/files.ts'
import { heldLimit, killAll, killInit, notEnded, stopped } from './kill.ts'
import { isLive } from '../runtime/states.ts'
import { standDown } from './restart.ts'
import type { Supervisor } from './supervisor.ts'
import { Task, type TaskContext } from './task.ts'
import { tearDown } from './teardown.ts'

export type DeleteInput = {
  containerId: string
  /** only this run; without it, whichever is current */
  runId?: string
  /** only the run is torn down, of which nothing is left to be told */
  noEvent?: boolean
  /** its exit has just been told: a container that removes itself goes */
  ended?: boolean
  /** of deletableAtOnce() */
  atOnce?: boolean
  /** one that is not listed, since nobody was told of it yet */
  container?: Container
  /** remove the container too, not only its run */
  remove?: boolean
  /** the task that this is a part of: it is the one that clients see, so events name it */
  within?: Task<unknown>
  /** kill a live one first */
  force?: boolean
}

/** seconds that a killed container has to be gone */
const killLimit = 20

/**
 * The one owner of `runtime delete`: tears the run down, and removes the container when asked
 * (or when it removes itself). Each step is skipped when it was done before, so it can be repeated.
 */
export class DeleteTask extends Task<void> {
  readonly kind = 'delete'
  override readonly lane: 'container' | 'free'
  override readonly internal: boolean
  override timeout = 60
  readonly #input: DeleteInput

  constructor (input: DeleteInput, context?: TaskContext) {
    super(input.containerId, context)
    this.#input = input
    this.internal = input.noEvent === true
    // A forced one waits for the exit, whose task comes through the container's lane: it must not hold the lane.
    this.lane = input.force === true ? 'free' : 'container'
  }

  get #shown (): Task<unknown> {
    return this.#input.within ?? this
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const { containerId, runId, ended, atOnce, remove, force } = this.#input
    if (force === true) {
      await this.#killAndRemove(supervisor)
      return
    }
    const container = this.#input.container ?? supervisor.find(containerId)
    if (runId !== undefined && container.run?.runId !== runId) return
    if (remove === true) container.mayMove('remove')
    const gone = remove === true || (ended === true && container.autoRemove)
    const began = process.hrtime.bigint()
    try {
      await tearDown(supervisor, this, container, atOnce)
    } catch (error) {
      supervisor.log.error({ err: error, container: container.id }, 'the run could not be torn down; deleting the container tries again')
      if (remove === true) throw error
      return
    }
    if (gone) await removeContainer(supervisor, this.#shown, container)
    else supervisor.saveSoon(container)
    supervisor.options.observe('delete', Number(process.hrtime.bigint() - began) / 1e9)
  }

  /** A create or start that is under way finishes first (it holds the lane), and what it started is then killed too. */
  async #killAndRemove (supervisor: Supervisor): Promise<void> {
    const context = this.requestId === undefined ? {} : { requestId: this.requestId }
    const listed = supervisor.containers.get(this.#input.containerId)
    if (listed !== undefined) {
      await standDown(supervisor, listed).catch((error: unknown) => {
        // On a full disk this is the way to make room, and what is removed is not started again anyway.
        supervisor.log.warn({ err: error, container: listed.id }, 'that a container is not to be started again could not be written')
      })
    }
    for (;;) {
      const container = supervisor.containers.get(this.#input.containerId)
      if (container !== undefined) await this.#kill(supervisor, container)
      this.step = 'waiting for its turn'
      try {
        await supervisor.send(new DeleteTask({ containerId: this.#input.containerId, remove: true }, context))
        return
      } catch (error) {
        if (!(error instanceof LongshoreError) || error.code !== 'container_running') throw error
      }
    }
  }

  async #kill (supervisor: Supervisor, container: Container): Promise<void> {
    const began = performance.now()
    while (isLive(container.status)) {
      this.step = 'waiting for the killed container to end'
      if (container.init !== undefined) container.init.asked = { signal: 9, requestId: this.requestId }
      await killInit(supervisor, container)
      if (await stopped(container, 1)) return
      await killAll(supervisor, container)
      const seconds = (performance.now() - began) / 1000
      if (seconds > killLimit) throw await notEnded(container, killLimit, this)
      if (seconds > heldLimit && (await blockedBy(container))?.held === true) throw await notEnded(container, heldLimit, this)
    }
  }
}

/** The container itself goes: its record, its output, and then the word to everyone. */
export async function removeContainer (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  container.move('remove')
  task.step = 'removing the container'
  await container.forget()
  failpoint('delete.forgotten')
  // Told before the files go: a crash between the two leaves a record that the journal says is deleted, never the reverse.
  await supervisor.publish(container, 'StateDelete', {
    task,
    apply: () => {
      supervisor.containers.delete(container.id)
      supervisor.deadlines.forget(container.id)
      container.changed('removed')
    }
  })
  failpoint('delete.told')
  await removeTree(container.root)
}
