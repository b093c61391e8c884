import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { LongshoreError } from '../errors.ts'
import type { ContainerView, CreateRequest, EventView, ExitView, ResourcesPatchView, ResourcesView } from '../schemas/index.ts'
import { fileSteps, type FileStep } from './files.ts'
import { globalArgs } from './oci.ts'
import { lifecycleOf, lifecycleView, type Lifecycle } from './lifecycle.ts'
import { Process } from './process.ts'
import { patchResources } from './resources.ts'
import { next, type Move, type Status } from './states.ts'
import type { OciProcess } from './bundle.ts'
import type { ContainerCgroup } from './cgroup.ts'
import type { Shim } from './shim.ts'

export const recordVersion = 1

/** milliseconds */
const soonMs = 100

/** What container.json holds: enough to rebuild the container without the journal. */
export type ContainerRecord = {
  version: typeof recordVersion
  id: string
  bundle: string
  runtime: string
  runtimeArgs: string[]
  noPivotRoot: boolean
  labels: Record<string, string>
  process: CreateRequest['process'] | null
  autoRemove: boolean
  stopSignal: number
  /** seconds */
  stopTimeout: number
  createdAt: string
  lastEventId: string | null
  /** absent in older records */
  lifecycle?: Partial<Lifecycle>
  run: RunRecord | null
  /** laid over the linux.resources of the bundle */
  resources?: ResourcesPatchView
  pending?: PendingUpdate
}

/** An update that is under way: what it asks for, and how the container is to be after it. */
export type PendingUpdate = {
  patch: ResourcesPatchView
  resources: ResourcesPatchView
  labels: Record<string, string>
  /** where the journal ended before it: an event id */
  after: string
}

/** One run: from `runtime create` to `runtime delete`. */
export type RunRecord = {
  runId: string
  /** creating: nobody has been told of it; created, running, stopped: as the event stream said last */
  phase: 'creating' | 'created' | 'running' | 'stopped'
  /** /proc/sys/kernel/random/boot_id: pids and the state directory mean nothing under another one */
  bootId: string
  runtimePath: string
  process: OciProcess
  pid: number | null
  cgroup: ContainerCgroup | null
  startedAt: string | null
  exit: ExitView | null
  /** of the bundle's config.json, as it was read for this run */
  resources?: ResourcesView
  /** the checkpoint from which it goes on */
  restored?: NonNullable<EventView['checkpoint']>
  /** frozen, as the event stream said last */
  paused?: boolean
  /** the runtime's state and the shim are gone */
  tornDown: boolean
}

/** stopped: the run has ended; process-exited: one of its other processes has; removed: the container has gone. */
export type Change = 'stopped' | 'process-exited' | 'removed'

export type Directories = { root: string, state: string }

export function newRunId (): string {
  return randomBytes(10).toString('hex')
}

/** A container as the supervisor knows it; the same constructor for a new one and for one found on disk. */
export class Container {
  readonly id: string
  /** its durable directory */
  readonly root: string
  readonly bundle: string
  readonly runtime: string
  readonly runtimeArgs: string[]
  readonly noPivotRoot: boolean
  labels: Record<string, string>
  /** a merge patch: what is null is cleared from what the bundle says */
  resources: ResourcesPatchView
  /** in the record from before it is begun until it is told */
  pending: PendingUpdate | undefined
  readonly processOverride: CreateRequest['process'] | undefined
  readonly autoRemove: boolean
  readonly stopSignal: number
  /** seconds */
  readonly stopTimeout: number
  /** seconds that a call of its runtime may take */
  readonly timeout: number
  readonly createdAt: string
  readonly lifecycle: Lifecycle
  readonly processes = new Map<string, Process>()
  /** those being started beside init, of which nobody has been told yet */
  readonly starting = new Map<string, Process>()
  status: Status
  /** a new run is on its way, from the moment at which its task begins */
  renewing = false
  run: RunRecord | null
  shim: Shim | undefined
  oomToken: number | undefined
  /** known of a run that this daemon has created: its pid namespace is its own, so that nothing of it outlives its init */
  ownPids = false
  /** OOM kills that the event stream has told for this run */
  oomTold = 0
  /** OOM kills that were seen before the start of this run was told */
  oomSeen = 0
  lastEventId: string | null
  readonly #state: string
  readonly #listeners = new Set<(change: Change) => void>()
  #held: ContainerView | undefined
  #writing: Promise<void> = Promise.resolve()
  #dirty = false
  #soon: NodeJS.Timeout | undefined
  readonly #after: FileStep[] = []
  #removed = false

  constructor (record: ContainerRecord, directories: Directories, timeout: number) {
    this.id = record.id
    this.root = join(directories.root, 'containers', record.id)
    this.#state = directories.state
    this.bundle = record.bundle
    this.runtime = record.runtime
    this.runtimeArgs = record.runtimeArgs
    this.noPivotRoot = record.noPivotRoot
    this.labels = record.labels
    this.resources = record.resources ?? {}
    this.pending = record.pending
    this.processOverride = record.process ?? undefined
    this.autoRemove = record.autoRemove
    this.stopSignal = record.stopSignal
    this.stopTimeout = record.stopTimeout
    this.timeout = timeout
    this.createdAt = record.createdAt
    this.lifecycle = lifecycleOf(record.lifecycle)
    this.lastEventId = record.lastEventId
    this.run = record.run
    this.status = 'created'
    if (record.run !== null) {
      this.beginRun(record.run)
      if (record.run.phase === 'running') this.status = record.run.paused === true ? 'paused' : 'running'
      if (record.run.phase === 'stopped') this.status = 'stopped'
    }
  }

  /** Takes up a run, new or found on disk. */
  beginRun (run: RunRecord): void {
    this.run = run
    this.oomTold = this.oomSeen = 0
    this.ownPids = false
    const init = new Process('init', run.process)
    init.pid = run.pid
    init.startedAt = run.startedAt
    init.exit = run.exit
    init.status = run.phase === 'stopped' ? 'stopped' : run.phase === 'running' ? 'running' : 'created'
    this.processes.clear()
    this.starting.clear()
    this.processes.set('init', init)
  }

  get init (): Process | undefined {
    return this.processes.get('init')
  }

  /** Throws process_not_found. */
  process (processId: string): Process {
    const process = this.processes.get(processId)
    if (process === undefined) throw new LongshoreError('process_not_found', `container ${this.id} has no process ${processId}`)
    return process
  }

  /** The name under which the runtime knows the current run. */
  get runtimeId (): string {
    return `${this.id}.${this.run?.runId ?? ''}`
  }

  /** Where the run's output and exit record stay until the container is removed. */
  get outDir (): string {
    return join(this.root, this.run?.runId ?? '')
  }

  /** Where the output and the records of a process beside init stay. */
  processDir (processId: string): string {
    return join(this.outDir, 'processes', processId)
  }

  /** Where the run's sockets and the runtime's log are; gone after its teardown. */
  get runDir (): string {
    return join(this.#state, 'runs', this.run?.runId ?? '')
  }

  /** The arguments before the runtime's subcommand. Its --root is longshore's own, apart from that of any other user of the same runtime. */
  get globalArgs (): string[] {
    return globalArgs(this.runtimeArgs, this.#runtimeRoot, join(this.runDir, 'runtime.log'))
  }

  /** Where the runtime keeps its own state of the current run; while init waits for its start, runc and crun have an `exec.fifo` in it. */
  get runtimeDir (): string {
    return join(this.#runtimeRoot, this.runtimeId)
  }

  get #runtimeRoot (): string {
    return join(this.#state, 'runtime')
  }

  /** Changes the status by the table of states; throws where the table has no such move. */
  move (move: Move): void {
    this.status = next(this.id, this.status, move)
  }

  /** Throws if the table does not have this move now. */
  mayMove (move: Move): void {
    next(this.id, this.status, move)
  }

  record (): ContainerRecord {
    return {
      version: recordVersion,
      id: this.id,
      bundle: this.bundle,
      runtime: this.runtime,
      runtimeArgs: this.runtimeArgs,
      noPivotRoot: this.noPivotRoot,
      labels: this.labels,
      process: this.processOverride ?? null,
      autoRemove: this.autoRemove,
      stopSignal: this.stopSignal,
      stopTimeout: this.stopTimeout,
      createdAt: this.createdAt,
      lastEventId: this.lastEventId,
      lifecycle: this.lifecycle,
      run: this.run,
      resources: this.resources,
      ...(this.pending === undefined ? {} : { pending: this.pending })
    }
  }

  /**
   * Writes container.json; calls while a write is under way share the next one. Nothing is written once it is removed.
   * `after`: steps that are done once it is written, in the same errand.
   */
  save (after: FileStep[] = []): Promise<void> {
    clearTimeout(this.#soon)
    this.#soon = undefined
    this.#after.push(...after)
    if (!this.#dirty) {
      this.#dirty = true
      this.#writing = this.#writing.catch(() => {}).then(async () => {
        this.#dirty = false
        if (this.#removed) return
        await fileSteps([{ op: 'mkdir', path: this.outDir }, { op: 'write', path: join(this.root, 'container.json'), text: JSON.stringify(this.record()) }, ...this.#after.splice(0)])
      })
    }
    return this.#writing
  }

  /** save(), a moment later, together with what changes until then. `failed` is called when it cannot be written. */
  saveSoon (failed: (error: unknown) => void): void {
    this.#soon ??= setTimeout(() => { this.save().catch(failed) }, soonMs).unref()
  }

  /** Writes at once what was to be written soon. */
  async flush (): Promise<void> {
    if (this.#soon !== undefined) await this.save()
    else await this.#writing
  }

  /** After this, save() writes no more; resolves when a write under way has ended. */
  async forget (): Promise<void> {
    this.#removed = true
    clearTimeout(this.#soon)
    this.#soon = undefined
    await this.#writing.catch(() => {})
  }

  /** While a new run is made, readers go on seeing what the event stream has told of the last one. */
  holdView (): void {
    this.#held = this.view()
  }

  releaseView (): void {
    this.#held = undefined
  }

  /** Calls the listener on each of these changes, after the state shows it; returns the way to stop listening. */
  onChange (listener: (change: Change) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed (change: Change): void {
    for (const listener of [...this.#listeners]) listener(change)
  }

  /** as view() shows it */
  get shownStatus (): Status {
    return this.#held?.status ?? this.status
  }

  view (): ContainerView {
    if (this.#held !== undefined) return this.#held
    return {
      id: this.id,
      runId: this.run?.runId ?? null,
      status: this.status,
      bundle: this.bundle,
      runtime: this.runtime,
      runtimeArgs: this.runtimeArgs,
      noPivotRoot: this.noPivotRoot,
      labels: this.labels,
      resources: patchResources(this.run?.resources ?? {}, this.resources),
      pid: this.status === 'stopped' ? null : this.init?.pid ?? null,
      processes: [...this.processes.values()].map((process) => process.view()),
      autoRemove: this.autoRemove,
      createdAt: this.createdAt,
      startedAt: this.init?.startedAt ?? null,
      exit: this.init?.exit ?? null,
      ...lifecycleView(this.lifecycle, this.run?.runId ?? null),
      lastEventId: this.lastEventId
    }
  }
}
