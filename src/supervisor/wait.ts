import { LongshoreError } from '../errors.ts'
import type { ExitRow } from '../events/journal.ts'
import type { Change, Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'

/**
 * stopped: the run has ended, now or before; removed: the container has gone; next-exit: one more exit than were told when
 * it was asked, or than the run `after`.
 */
export const waitConditions = ['stopped', 'removed', 'next-exit'] as const
export type WaitCondition = typeof waitConditions[number]

export type WaitInput = {
  containerId: string
  /** `init` when absent */
  processId?: string
  condition?: WaitCondition
  /** this run, whatever has come after it; without it the current one, or the last one of a container that has gone */
  runId?: string
  /** next-exit: the run whose exit is known already */
  after?: string
  /** whoever waits has gone, or its time is up */
  abort: AbortSignal
}

const waitersLimit = 10_000

/** Everyone who waits for a change of a container: counted, and all sent home when the daemon stops. */
export class Waits {
  readonly #limit: number
  readonly #waiting = new Set<(reason: 'closed') => void>()
  #closed = false

  constructor (limit = waitersLimit) {
    this.#limit = limit
  }

  get size (): number {
    return this.#waiting.size
  }

  /**
   * Watches from this very moment. `happened`: true at the first change that is wanted, false when aborted; rejects with
   * not_ready when the daemon stops. Throws too_many_requests past the limit. Whoever calls it must call `end`.
   */
  watch (container: Container, abort: AbortSignal, wanted: (change: Change) => boolean): { happened: Promise<boolean>, end: () => void } {
    if (this.#closed) throw stopping()
    if (this.#waiting.size >= this.#limit) throw new LongshoreError('too_many_requests', `${this.#limit} requests wait for exits, which is the limit`, { extra: { retryAfter: 5 } })
    let end = (): void => {}
    const happened = new Promise<boolean>((resolve, reject) => {
      const forget = container.onChange((change) => { if (wanted(change)) finish(true) })
      const aborted = (): void => finish(false)
      const finish = (result: boolean | 'closed'): void => {
        forget()
        abort.removeEventListener('abort', aborted)
        this.#waiting.delete(finish)
        if (result === 'closed') reject(stopping())
        else resolve(result)
      }
      this.#waiting.add(finish)
      if (abort.aborted) aborted()
      else abort.addEventListener('abort', aborted)
      end = aborted
    })
    // Not everyone who watches comes to await it.
    happened.catch(() => {})
    return { happened, end }
  }

  close (): void {
    this.#closed = true
    for (const finish of [...this.#waiting]) finish('closed')
  }
}

function stopping (): LongshoreError {
  return new LongshoreError('not_ready', 'the daemon is stopping; ask again when it is back', { extra: { retryAfter: 1 } })
}

/**
 * The exit of a process: at once where it is known (also when the container has gone), else when it comes; undefined when
 * aborted before. What is given is the record in the journal, whichever way it was found. Throws container_not_found,
 * process_not_found, no_exit for what has ended without one, not_ready, too_many_requests.
 */
export async function waitForExit (supervisor: Supervisor, input: WaitInput): Promise<ExitRow | undefined> {
  const { containerId, condition = 'stopped' } = input
  // A container that is not taken up yet must not be taken for one that is not there.
  if (!supervisor.ready && !supervisor.containers.has(containerId)) {
    throw new LongshoreError('not_ready', `the daemon is still taking up its containers (${supervisor.progress.restored} of ${supervisor.progress.total})`, { extra: { retryAfter: 1 } })
  }
  if (condition === 'stopped') return await whenStopped(supervisor, input)
  if (condition === 'removed') return await whenRemoved(supervisor, input)
  return await nextExit(supervisor, input)
}

async function whenStopped (supervisor: Supervisor, input: WaitInput): Promise<ExitRow | undefined> {
  const { containerId, processId = 'init', abort } = input
  let { runId } = input
  for (;;) {
    const container = supervisor.containers.get(containerId)
    if (container === undefined) break
    const view = container.view()
    runId ??= view.runId ?? undefined
    // While a new run is made the view still shows the last one; both are this container's.
    if (runId !== view.runId && runId !== container.run?.runId) break
    if (runId === view.runId) {
      const process = view.processes.find(({ id }) => id === processId)
      if (process === undefined) break
      if (process.exit !== null && runId !== undefined) return { runId, processId, containerId, exit: process.exit }
    }
    const { happened } = supervisor.waits.watch(container, abort, () => true)
    if (!await happened) return undefined
  }
  return await kept(supervisor, containerId, processId, runId)
}

async function whenRemoved (supervisor: Supervisor, { containerId, runId, abort }: WaitInput): Promise<ExitRow | undefined> {
  const container = supervisor.containers.get(containerId)
  if (container === undefined || (runId !== undefined && runId !== container.run?.runId)) return await kept(supervisor, containerId, 'init', runId)
  const { happened } = supervisor.waits.watch(container, abort, (change) => change === 'removed')
  if (!await happened) return undefined
  return await kept(supervisor, containerId, 'init', container.run?.runId)
}

async function nextExit (supervisor: Supervisor, { containerId, after, abort }: WaitInput): Promise<ExitRow | undefined> {
  const { journal } = supervisor.options
  const lookUp = async (): Promise<ExitRow | undefined> => (after === undefined ? undefined : await journal.exitAfter({ containerId, processId: 'init', runId: after }))
  for (let container = supervisor.containers.get(containerId); container !== undefined; container = supervisor.containers.get(containerId)) {
    // Watched before it is looked up: an exit in between is seen by one of them.
    const { happened, end } = supervisor.waits.watch(container, abort, (change) => change !== 'process-exited')
    try {
      const missed = await lookUp()
      if (missed !== undefined) return missed
      if (!await happened) return undefined
    } finally {
      end()
    }
    const { run } = container
    // The exit of the very run that was named is not the next one: on to that.
    if (run?.exit != null && run.runId !== after && supervisor.containers.get(containerId) === container) return { runId: run.runId, processId: 'init', containerId, exit: run.exit }
  }
  const found = await lookUp()
  if (found !== undefined) return found
  throw new LongshoreError('container_not_found', `container ${containerId} has gone, so no other exit comes`)
}

/** From the journal, which keeps exits longer than containers. */
async function kept (supervisor: Supervisor, containerId: string, processId: string, runId: string | undefined): Promise<ExitRow> {
  const row = await supervisor.options.journal.exitOf({ containerId, ...(runId === undefined ? {} : { runId }), processId })
  if (row !== undefined) return row
  const container = supervisor.containers.get(containerId)
  if (processId !== 'init' && container !== undefined) throw new LongshoreError('process_not_found', `container ${containerId} has no process ${processId}, and no exit of one is kept`)
  if (runId !== undefined) throw new LongshoreError('no_exit', `run ${runId} of container ${containerId} has no exit: it never ran, or is not known`)
  throw new LongshoreError('container_not_found', `there is no container ${containerId}, and no exit of one is kept`)
}
