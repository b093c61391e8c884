import { processesOf } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import { isLive } from '../runtime/states.ts'
import { DeleteTask } from './delete.ts'
import { exitSeen, watchRun } from './exit.ts'
import { readExitRecord } from './exit-record.ts'
import type { Supervisor } from './supervisor.ts'

const atOnce = 16
/** rounds between tries to tear a run down, doubled from the first to the last */
const lastPause = 32

/**
 * Compares what is known of each container with its cgroup, its pidfds and its exit record, so that a notice that was
 * lost costs seconds. What is out of step in two rounds one after another is repaired, logged and counted.
 */
export class Reconciler {
  readonly #supervisor: Supervisor
  readonly #timer: NodeJS.Timeout
  /** run ids that were out of step in the last round */
  #suspects = new Set<string>()
  /** runs that could not be torn down: rounds until the next try, and the pause after that */
  readonly #retries = new Map<string, { left: number, pause: number }>()
  #busy = false

  constructor (supervisor: Supervisor, seconds: number) {
    this.#supervisor = supervisor
    this.#timer = setInterval(() => {
      this.round().catch((error: unknown) => { supervisor.log.error({ err: error }, 'the containers could not be compared with what is there') })
    }, seconds * 1000)
    this.#timer.unref()
  }

  close (): void {
    clearInterval(this.#timer)
  }

  /** One comparison of all containers; at most one goes on at a time. */
  async round (): Promise<void> {
    if (this.#busy || !this.#supervisor.ready) return
    this.#busy = true
    try {
      const suspects = new Set<string>()
      const left = this.#supervisor.containers.values()
      const worker = async (): Promise<void> => {
        for (const container of left) await this.#look(container, suspects)
      }
      await Promise.all(Array.from({ length: atOnce }, worker))
      this.#suspects = suspects
      for (const runId of this.#retries.keys()) if (!suspects.has(runId)) this.#retries.delete(runId)
    } finally {
      this.#busy = false
    }
  }

  async #look (container: Container, suspects: Set<string>): Promise<void> {
    const { run } = container
    // While a task works on it, it is out of step by rights.
    if (run === null || this.#supervisor.working(container.id)) return
    const stopped = container.status === 'stopped'
    const wrong = stopped ? !run.tornDown : (isLive(container.status) || container.status === 'created') && await endedUnseen(container)
    if (!wrong) return
    suspects.add(run.runId)
    if (!this.#suspects.has(run.runId) || container.run?.runId !== run.runId || this.#supervisor.working(container.id)) return
    if (stopped) this.#tearDown(container, run.runId)
    else await this.#findExit(container, run.runId)
  }

  #tearDown (container: Container, runId: string): void {
    const retry = this.#retries.get(runId) ?? { left: 0, pause: 1 }
    this.#retries.set(runId, retry)
    if (retry.left-- > 0) return
    retry.left = retry.pause
    retry.pause = Math.min(retry.pause * 2, lastPause)
    this.#supervisor.repaired('teardown', { container: container.id, runId }, 'a run that could not be torn down is tried again')
    void this.#supervisor.send(new DeleteTask({ containerId: container.id, runId, noEvent: true }))
  }

  /** Init has ended and nobody told: the record, or the shim's end, says how. */
  async #findExit (container: Container, runId: string): Promise<void> {
    this.#supervisor.repaired('exit', { container: container.id, runId }, 'the notice of an exit was lost')
    const record = await readExitRecord(container.outDir, 'init')
    if (record !== undefined) exitSeen(this.#supervisor, container, record)
    else if (container.shim === undefined || container.shim.gone) watchRun(this.#supervisor, container)
    else container.shim.kill()
  }
}

/** True when nothing of the container is alive any more, though its exit was not seen. */
async function endedUnseen (container: Container): Promise<boolean> {
  const { run, shim, init } = container
  if (run === null || init?.ended !== undefined) return false
  if (shim === undefined || shim.gone || !shim.initWatched) return true
  return run.cgroup !== null && (await processesOf(run.cgroup)).length === 0
}
