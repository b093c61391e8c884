import { join } from 'node:path'
import { LongshoreError } from '../errors.ts'
import type { ContainerView, EventView, ExitView } from '../schemas/index.ts'
import type { ExitRow, Journal } from '../events/journal.ts'
import { blockedBy } from '../runtime/blocked.ts'
import { Container, type Directories } from '../runtime/container.ts'
import { Containers } from '../runtime/containers.ts'
import type { Process } from '../runtime/process.ts'
import { Criu } from '../runtime/criu.ts'
import type { CgroupMounts } from '../runtime/cgroup.ts'
import type { RuntimeResult, Shim } from '../runtime/shim.ts'
import { ShimGone } from '../runtime/shim.ts'
import type { Watch } from '../runtime/watch.ts'
import { Deadlines } from './deadlines.ts'
import { HealthChecks } from './health-checks.ts'
import { Lanes, Slots } from './lanes.ts'
import type { Task } from './task.ts'
import { TaskList } from './task-list.ts'
import { Waits } from './wait.ts'

export type Log = {
  info: (details: object, message: string) => void
  warn: (details: object, message: string) => void
  error: (details: object, message: string) => void
}

const repairKinds = ['orphan', 'teardown', 'exit'] as const
/** orphan: a run without a record; teardown: one that was left half torn down; exit: an exit whose notice was lost */
export type Repair = typeof repairKinds[number]

export type Timed = 'create' | 'start' | 'exit' | 'delete'

export type SupervisorOptions = {
  directories: Directories
  /** the runtime and its arguments for a request that names none */
  runtime: string
  runtimeArgs: string[]
  /** seconds that one call of the runtime may take */
  startTimeout: number
  maxQueuedTasks: number
  maxRuntimeCalls: number
  logSegmentBytes: number
  logSegments: number
  /** runs of a container whose output is kept */
  logRuns: number
  bootId: string
  cgroups: CgroupMounts
  journal: Journal
  watch: Watch
  log: Log
  observe: (what: Timed, seconds: number) => void
}

/** seconds that an aborted runtime call has to end before its shim is killed */
const abortGrace = 5

/** Owns all containers. Everything that changes one is a task sent here; readers read without waiting. */
export class Supervisor {
  readonly options: SupervisorOptions
  readonly containers = new Containers()
  /** records that could not be read, by the id of their container; what belongs to them may still run */
  readonly quarantined = new Map<string, { path: string, reason: string }>()
  readonly repairs = new Map<Repair, number>(repairKinds.map((kind) => [kind, 0]))
  readonly progress = { restored: 0, total: 0 }
  /** every container of an earlier daemon is shown as it was last told; what happened to it since is still to be found out */
  listed = false
  /** resolves once the containers of an earlier daemon have been taken up */
  readonly restored: Promise<void>
  #ready = false
  #takenUp: () => void = () => {}
  readonly #lanes = new Lanes()
  readonly #slots: Slots
  readonly #tasks = new TaskList(async (task) => await this.#whatBlocks(task))
  readonly waits = new Waits()
  readonly deadlines = new Deadlines()
  readonly criu: Criu
  readonly checks = new HealthChecks()
  #waiting = 0
  #runtimeCalls = 0

  constructor (options: SupervisorOptions) {
    this.options = options
    this.criu = new Criu(options.watch, join(options.directories.state, 'criu.said'))
    this.#slots = new Slots(options.maxRuntimeCalls)
    this.restored = new Promise((resolve) => { this.#takenUp = resolve })
  }

  get ready (): boolean {
    return this.#ready
  }

  set ready (ready: boolean) {
    this.#ready = ready
    if (ready) this.#takenUp()
  }

  get log (): Log {
    return this.options.log
  }

  /** tasks that wait for their turn */
  get queued (): number {
    return this.#waiting
  }

  get runtimeCalls (): number {
    return this.#runtimeCalls
  }

  /**
   * Puts a task to the supervisor. Resolves with its result, rejects with its error, with `timeout`
   * at its deadline (the task goes on), or with `overloaded` at once when too many wait.
   */
  send<T> (task: Task<T>): Promise<T> {
    this.begin(task)
    return task.answer
  }

  /** send(), for who looks at the task itself: what waits for nothing has settled when this returns. */
  begin (task: Task<unknown>): void {
    const refused = this.#refusal(task)
    if (refused !== undefined) {
      task.fail(refused)
      return
    }
    if (task.containerId !== undefined) task.labels ??= this.containers.get(task.containerId)?.labels
    this.#tasks.add(task)
    if (task.lane === 'free' || task.containerId === undefined) {
      void this.#run(task)
      return
    }
    this.#waiting++
    this.#lanes.push(task.containerId, () => {
      this.#waiting--
      return this.#run(task)
    })
  }

  /** Nothing is returned when the task has ended already; else what resolves when it has. */
  #run (task: Task<unknown>): Promise<void> | undefined {
    task.startedAt = Date.now()
    task.step = task.kind
    try {
      const result = task.execute(this)
      if (result instanceof Promise) return this.#follow(task, result)
      task.succeed(result)
    } catch (error) {
      this.#failed(task, error)
    }
    this.#tasks.end(task)
    return undefined
  }

  async #follow (task: Task<unknown>, result: Promise<unknown>): Promise<void> {
    try {
      task.succeed(await result)
    } catch (error) {
      this.#failed(task, error)
    }
    this.#tasks.end(task)
  }

  #failed (task: Task<unknown>, error: unknown): void {
    task.fail(error)
    if (task.error?.code === 'internal') this.log.error({ err: error, task: task.id, kind: task.kind, container: task.containerId }, 'a task failed')
  }

  /** True while a task of this container's own lane is under way or waits. */
  working (id: string): boolean {
    return this.#lanes.has(id)
  }

  /** Something was found out of step with what was known, and is being put right: logged and counted. */
  repaired (kind: Repair, details: object, message: string): void {
    this.repairs.set(kind, (this.repairs.get(kind) ?? 0) + 1)
    this.log.warn({ repair: kind, ...details }, message)
  }

  task (id: string): Task<unknown> | undefined {
    return this.#tasks.find(id)
  }

  /** Newest first: those under way, and the last finished ones. */
  tasks (): Task<unknown>[] {
    return this.#tasks.all()
  }

  /** Resolves when nothing is under way any more, or after so many seconds. */
  async idle (seconds: number): Promise<void> {
    const under = this.#tasks.underWay().map((task) => task.done.catch(() => {}))
    await Promise.race([Promise.all(under), new Promise((resolve) => setTimeout(resolve, seconds * 1000).unref())])
  }

  /** The container, or container_not_found. */
  find (id: string): Container {
    const container = this.containers.get(id)
    if (container !== undefined) return container
    // A container that is not taken up yet must not be taken for one that is not there.
    if (!this.ready && !this.listed) throw this.#restoring()
    throw new LongshoreError('container_not_found', `there is no container ${id}`)
  }

  /** Throws not_ready until every container of an earlier daemon is known, so that what is missing is really gone. */
  list (): ContainerView[] {
    return this.all().map((container) => container.view())
  }

  /** All containers, in the order of their creation; throws while that is not known yet. */
  all (): Container[] {
    if (!this.ready && !this.listed) throw this.#restoring()
    return [...this.containers.values()]
  }

  /** How many containers have each status. */
  counts (covers: (container: Container) => boolean = () => true): Map<string, number> {
    const counts = new Map<string, number>()
    for (const container of this.containers.values()) if (covers(container)) counts.set(container.status, (counts.get(container.status) ?? 0) + 1)
    return counts
  }

  /**
   * Writes an event to the journal; `apply` changes the state in the same turn in which subscribers are told,
   * so that neither can be seen without the other. `at`: its time, now when absent.
   */
  async publish (container: Container, type: EventView['type'], details: { task?: Task<unknown>, process?: Process, exit?: ExitView, error?: LongshoreError, labels?: Record<string, string>, more?: Pick<EventView, 'restart' | 'expiresAt' | 'checkpoint' | 'health' | 'oomKills'>, at?: bigint, apply?: () => void }): Promise<void> {
    const { task, process, exit, error, more, at, apply } = details
    const runId = container.run?.runId
    const row: ExitRow | undefined = exit === undefined || runId === undefined
      ? undefined
      : { runId, processId: process?.id ?? 'init', containerId: container.id, exit }
    await this.options.journal.append({
      type,
      containerId: container.id,
      ...(runId === undefined ? {} : { runId }),
      ...(process === undefined ? {} : { processId: process.id, ...(process.pid === null ? {} : { pid: process.pid }) }),
      ...(exit === undefined ? {} : { exit }),
      ...(error === undefined ? {} : { error: { code: error.code, detail: error.message } }),
      ...more,
      labels: details.labels ?? container.labels,
      ...(task === undefined ? {} : { taskId: task.id }),
      ...(task?.requestId === undefined ? {} : { requestId: task.requestId })
    }, (id) => {
      container.lastEventId = id
      apply?.()
    }, row, at)
  }

  /** The record follows what was told; it is not waited for, since the journal and the shim know as much. */
  save (container: Container): void {
    container.save().catch((error: unknown) => {
      this.log.error({ err: error, container: container.id }, 'the record of the container could not be written')
    })
  }

  /**
   * Likewise, a moment later: of a container that soon goes nothing need be written at all. Only for what restore() finds
   * out by itself, from the journal, the shim and the kernel; never for a creation.
   */
  saveSoon (container: Container): void {
    container.saveSoon((error) => {
      this.log.error({ err: error, container: container.id }, 'the record of the container could not be written')
    })
  }

  /** Writes down all that was to be written soon. */
  async flush (): Promise<void> {
    await Promise.allSettled([...this.containers.values()].map(async (container) => await container.flush()))
  }

  /**
   * One call of the runtime through a shim, with its deadline: past it the call is aborted, and if that does not help
   * the shim is killed. Throws `timeout` or `runtime_crashed`; the runtime's own failure is in the result.
   */
  async runtimeCall (task: Task<unknown>, step: string, call: (got: (shim: Pick<Shim, 'abort' | 'kill'>) => void) => Promise<RuntimeResult>): Promise<RuntimeResult> {
    task.step = `waiting for a free place to call the runtime (${step})`
    const release = await this.#slots.take()
    task.step = step
    const limit = this.options.startTimeout
    let shim: Pick<Shim, 'abort' | 'kill'> | undefined
    let late = false
    let last: NodeJS.Timeout | undefined
    const timer = setTimeout(() => {
      late = true
      shim?.abort()
      last = setTimeout(() => shim?.kill(), abortGrace * 1000)
    }, limit * 1000)
    this.#runtimeCalls++
    try {
      const result = await call((found) => { shim = found })
      if (late) throw new LongshoreError('timeout', `${step} did not finish within ${limit} s and was ended`, { extra: { step, taskId: task.id } })
      return result
    } catch (error) {
      if (!(error instanceof ShimGone)) throw error
      if (late) throw new LongshoreError('timeout', `${step} did not finish within ${limit} s and was ended`, { cause: error, extra: { step, taskId: task.id } })
      throw new LongshoreError('runtime_crashed', `${step}: the shim of the container ended`, { cause: error, extra: { step, taskId: task.id } })
    } finally {
      this.#runtimeCalls--
      clearTimeout(timer)
      clearTimeout(last)
      release()
    }
  }

  /** A place for one call of the runtime that does not go through a shim; the function that is returned gives it back. */
  async runtimePlace (task: Task<unknown>, step: string): Promise<() => void> {
    task.step = `waiting for a free place to call the runtime (${step})`
    const release = await this.#slots.take()
    task.step = step
    this.#runtimeCalls++
    return () => {
      this.#runtimeCalls--
      release()
    }
  }

  /** Of the container that a task is about. */
  async #whatBlocks ({ containerId }: Task<unknown>): Promise<string | undefined> {
    const container = containerId === undefined ? undefined : this.containers.get(containerId)
    return container === undefined ? undefined : (await blockedBy(container))?.text
  }

  #restoring (): LongshoreError {
    return new LongshoreError('not_ready', `the daemon is still taking up its containers (${this.progress.restored} of ${this.progress.total})`, { extra: { retryAfter: 1 } })
  }

  #refusal (task: Task<unknown>): LongshoreError | undefined {
    if (task.internal) return undefined
    if (!this.ready && task.kind !== 'get') {
      return this.#restoring()
    }
    if (task.mutates && !this.options.journal.writable) {
      return new LongshoreError('not_ready', 'the journal cannot be written, so no new work is taken; what runs is watched', { extra: { retryAfter: 5 } })
    }
    if (this.#tasks.size >= this.options.maxQueuedTasks) {
      return new LongshoreError('overloaded', `${this.#tasks.size} tasks are under way, which is the limit`, { extra: { retryAfter: 1 } })
    }
    return undefined
  }
}
