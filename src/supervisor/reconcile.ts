import { isHeld } from '../runtime/blocked.ts'
import { processesOfEach, type ContainerCgroup } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import { isLive } from '../runtime/states.ts'
import { DeleteTask } from './delete.ts'
import { exitSeen, watchRun } from './exit.ts'
import { readExitRecord } from './exit-record.ts'
import type { Supervisor } from './supervisor.ts'

/** containers whose groups are read in one errand: a daemon at rest is woken up as seldom as can be */
const atOnce = 64
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
      const all = [...this.#supervisor.containers.values()]
      for (let at = 0; at < all.length; at += atOnce) await this.#look(all.slice(at, at + atOnce), suspects)
      this.#suspects = suspects
      for (const runId of this.#retries.keys()) if (!suspects.has(runId)) this.#retries.delete(runId)
    } finally {
      this.#busy = false
    }
  }

  async #look (containers: Container[], suspects: Set<string>): Promise<void> {
    // While a task works on it, it is out of step by rights.
    const idle = containers.filter(({ id, run }) => run !== null && !this.#supervisor.working(id))
    const runs = idle.map(({ run }) => run)
    const groups = idle.map(groupOfUndoubted)
    const processes = await processesOfEach(groups.filter((group) => group !== undefined))
    for (const [at, container] of idle.entries()) {
      const run = runs[at]
      const empty = groups[at] !== undefined && processes.shift()?.length === 0
      // It was read off the loop: meanwhile this may have become another run.
      if (run == null || container.run !== run || !(empty || unfinished(container) || endedUnseen(container))) continue
      suspects.add(run.runId)
      if (!this.#suspects.has(run.runId) || this.#supervisor.working(container.id)) continue
      if (container.status === 'stopped') this.#tearDown(container, run.runId)
      else await this.#findExit(container, run.runId)
    }
  }

  #tearDown (container: Container, runId: string): void {
    const retry = this.#retries.get(runId) ?? { left: 0, pause: 1 }
    this.#retries.set(runId, retry)
    if (retry.left-- > 0) return
    retry.left = retry.pause
    retry.pause = Math.min(retry.pause * 2, lastPause)
    this.#supervisor.repaired('teardown', { container: container.id, runId }, 'a run that could not be torn down is tried again')
    void this.#supervisor.send(new DeleteTask({ containerId: container.id, runId, noEvent: true, remove: container.autoRemove }))
  }

  /** Init has ended and nobody told: the record, or the shim's end, says how. */
  async #findExit (container: Container, runId: string): Promise<void> {
    const { shim, init } = container
    // One that a tracer holds, or in whose pid namespace another is held, has left its group and can be reaped by nobody yet.
    if (shim !== undefined && await isHeld(init?.pid ?? null, shim.gone ? undefined : shim.pid)) return
    // What was looked at took its time.
    if (init?.ended !== undefined) return
    this.#supervisor.repaired('exit', { container: container.id, runId }, 'the notice of an exit was lost')
    const record = await readExitRecord(container.outDir, 'init')
    if (record !== undefined) exitSeen(this.#supervisor, container, record)
    else if (container.shim === undefined || container.shim.gone) watchRun(this.#supervisor, container)
    else container.shim.kill()
  }
}

/** Has ended, and was not torn down. */
function unfinished ({ status, run }: Container): boolean {
  return status === 'stopped' && run?.tornDown === false
}

/** Is taken to live, though nobody watches it any more. */
function endedUnseen ({ status, shim, init }: Container): boolean {
  return (isLive(status) || status === 'created') && init?.ended === undefined && (shim === undefined || shim.gone || !shim.initWatched)
}

/** The group of one that is taken to live, and watched: it has to have processes. */
function groupOfUndoubted (container: Container): ContainerCgroup | undefined {
  const { status, run, init } = container
  return (isLive(status) || status === 'created') && init?.ended === undefined && !endedUnseen(container) ? run?.cgroup ?? undefined : undefined
}
