import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { cgroupOf, type ContainerCgroup } from '../runtime/cgroup.ts'
import { Container, recordVersion, type ContainerRecord } from '../runtime/container.ts'
import { nowNs } from '../native/index.ts'
import { timestamp, type ExitFacts } from '../runtime/exit.ts'
import { readIfThere, removeTree } from '../runtime/files.ts'
import type { EventType } from '../schemas/index.ts'
import { Shim } from '../runtime/shim.ts'
import { takeUpCheckpoints } from './checkpoint.ts'
import { DeleteTask } from './delete.ts'
import { exitSeen } from './exit.ts'
import { readExitRecord } from './exit-record.ts'
import { adoptHealth, takeUpHealth } from './health.ts'
import { killAll } from './kill.ts'
import { countedSoFar, tellOomSoFar } from './oom.ts'
import { findOrphans, type Orphan } from './orphans.ts'
import { takeUpLease } from './lease.ts'
import { tellRestored } from './restoration.ts'
import { restorePaused, toldPaused } from './pause.ts'
import { takeUpRestart } from './restart.ts'
import { arm } from './run.ts'
import { loadExecs, restoreExecs } from './restore-execs.ts'
import { startFailed } from './start.ts'
import type { Supervisor } from './supervisor.ts'
import { Task } from './task.ts'
import { adoptTold, finishUpdate } from './update.ts'
import { tearDown } from './teardown.ts'

const atOnce = 16
/** seconds that a shim has to greet */
const greetLimit = 5

/**
 * Takes up the containers of an earlier daemon. All become visible first, as the journal has told of them last; then each run
 * is compared with what is really there (its shim, its exit record, the boot), and what was missed meanwhile is told.
 * What cannot be read is left as it is and reported. Returns what is there and belongs to no record.
 */
export async function restore (supervisor: Supervisor): Promise<Orphan[]> {
  const directory = join(supervisor.options.directories.root, 'containers')
  const names = await readdir(directory)
  supervisor.progress.total = names.length
  const found: Container[] = []
  const told = new Map<Container, ReadonlySet<EventType>>()
  await bounded(names, async (name) => {
    try {
      const container = await load(supervisor, directory, name)
      const types = container === undefined ? undefined : await align(supervisor, container)
      if (container === undefined || types === undefined) return
      found.push(container)
      told.set(container, types)
    } catch (error) {
      const reason = (error as Error).message
      const path = join(directory, name)
      supervisor.quarantined.set(name, { path, reason })
      supervisor.log.error({ err: error, path }, 'a container could not be read; it is left as it is')
      await supervisor.options.journal.append({ type: 'StateUpdate', containerId: name, labels: {}, error: { code: 'container_unreadable', detail: reason } })
    }
  })
  found.sort((one, other) => (one.createdAt < other.createdAt ? -1 : one.createdAt > other.createdAt ? 1 : 0))
  for (const container of found) {
    if (container.lastEventId !== null || container.run?.phase !== 'creating') supervisor.containers.set(container.id, container)
  }
  supervisor.listed = true
  await bounded(found, async (container) => {
    const task = new RestoreTask(container, told.get(container) ?? new Set())
    await supervisor.send(task).catch((error: unknown) => {
      supervisor.log.error({ err: error, container: container.id }, 'a container could not be taken up')
      if (container.status !== 'stopped') container.status = 'lost'
    })
    await finishUpdate(supervisor, container).catch((error: unknown) => supervisor.log.error({ err: error, container: container.id }, 'an update that was under way could not be finished'))
    supervisor.progress.restored++
  })
  const orphans = await findOrphans(supervisor, new Set(found.map(({ run }) => run?.runId ?? '')))
  supervisor.ready = true
  return orphans
}

async function bounded<T> (items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** Undefined for a directory without a record: the record is written before anything is spawned, so nothing of it can run. */
async function load (supervisor: Supervisor, directory: string, name: string): Promise<Container | undefined> {
  const text = await readIfThere(join(directory, name, 'container.json'))
  if (text === undefined) {
    await removeTree(join(directory, name))
    return undefined
  }
  const record = JSON.parse(text) as ContainerRecord
  if (record.version !== recordVersion || record.id !== name) throw new Error(`container.json is of version ${String(record.version)} for ${String(record.id)}`)
  return new Container(record, supervisor.options.directories, supervisor.options.startTimeout)
}

/**
 * Brings a record, which is written after the event and may be some steps behind it, to what readers have been told: no one
 * who has seen an event may be shown an older state. Returns the types of the
 * events of its run; undefined for a container that was told to be gone, whose directory goes.
 */
async function align (supervisor: Supervisor, container: Container): Promise<ReadonlySet<EventType> | undefined> {
  await adoptTold(supervisor, container)
  await adoptHealth(supervisor, container)
  const { run } = container
  if (run === null) return new Set()
  const { journal } = supervisor.options
  const events = await journal.eventsOfRun(run.runId)
  const ofInit = events.filter(({ processId }) => processId === undefined || processId === 'init').map(({ type }) => type)
  const told = new Set(ofInit)
  if (told.has('StateDelete')) {
    await removeTree(container.root)
    return undefined
  }
  container.lastEventId = events.at(-1)?.id ?? container.lastEventId
  const start = events.find(({ type }) => type === 'StateStart')
  run.startedAt ??= start?.timestamp ?? null
  run.pid ??= start?.pid ?? null
  if (told.has('StateExit') || told.has('StateStartFailed')) {
    const row = await journal.exitOf({ containerId: container.id, runId: run.runId, processId: 'init' })
    if (row !== undefined) run.exit = row.exit
    run.phase = 'stopped'
  } else if (run.phase === 'created' || run.phase === 'creating') {
    if (told.has('StateStart')) run.phase = 'running'
    else if (told.has('StateCreate')) run.phase = 'created'
  }
  run.paused = toldPaused(run, ofInit)
  container.beginRun(run)
  // Events of earlier versions bear no number.
  container.oomTold = events.filter(({ type }) => type === 'StateOOM').reduce((most, { oomKills }, before) => Math.max(most, oomKills ?? before + 1), 0)
  await loadExecs(supervisor, container, run, events)
  // A new run that nobody was told of belongs to a container that was told to have stopped before.
  if (run.phase === 'creating') container.status = container.lastEventId === null ? 'created' : 'stopped'
  else container.status = run.phase === 'running' && run.paused ? 'paused' : run.phase
  return told
}

class RestoreTask extends Task<void> {
  readonly kind = 'start'
  override readonly internal = true
  readonly #container: Container
  readonly #told: ReadonlySet<EventType>

  constructor (container: Container, told: ReadonlySet<EventType>) {
    super(container.id)
    this.#container = container
    this.#told = told
  }

  async execute (supervisor: Supervisor): Promise<void> {
    const container = this.#container
    const { run } = container
    const { bootId, watch } = supervisor.options
    if (run === null) return
    // What is wrong with a checkpoint must not keep its container from being taken up.
    if (container.lastEventId !== null) await takeUpCheckpoints(supervisor, this, container).catch((error: unknown) => supervisor.log.error({ err: error, container: container.id }, 'the checkpoints of a container could not be looked through'))
    takeUpLease(supervisor, container, this.#told)
    if (run.phase === 'stopped') await takeUpRestart(supervisor, container, this.#told, this)
    if (run.tornDown) return
    failpoint('restore.loaded')
    this.step = 'looking for the shim'
    const sameBoot = run.bootId === bootId
    const shim = sameBoot ? await Shim.connect(watch, container.runDir) : undefined
    container.shim = shim
    failpoint('restore.connected')
    if (shim !== undefined && !await greeted(shim)) {
      supervisor.log.warn({ container: container.id, shim: shim.pid }, 'the shim of the container does not answer')
      shim.kill()
      await shim.ended
    }
    // A further run has no StateCreate of its own. If its command ran, that is told, and its end too: nothing that ran is made undone.
    if (run.phase === 'creating' && container.lastEventId !== null && (shim?.started === true || (await readExitRecord(container.outDir, 'init'))?.started === true)) run.phase = 'created'
    if (run.phase === 'creating') {
      await this.#undo(supervisor, container)
      return
    }
    if (run.phase === 'stopped') {
      void supervisor.send(new DeleteTask({ containerId: container.id, runId: run.runId, noEvent: true, remove: container.autoRemove }))
      return
    }
    if (shim !== undefined && !shim.gone) {
      if (shim.initPid > 0) run.pid = shim.initPid
      if (container.init !== undefined) container.init.pid = run.pid
      if (run.phase === 'created' && shim.started) await this.#started(supervisor, container)
      // Before init's end can be told, which waits for those that it finds.
      const execs = restoreExecs(supervisor, this, container, 'monitor-lost')
      await Promise.all([execs, arm(supervisor, container).then(async () => await tellOomSoFar(supervisor, container, run.runId))])
      await restorePaused(supervisor, this, container)
      await takeUpHealth(supervisor, container)
      failpoint('restore.armed')
      supervisor.saveSoon(container)
      return
    }
    await this.#without(supervisor, container, sameBoot)
  }

  /** The start succeeded, but the daemon ended before it could say so. */
  async #started (supervisor: Supervisor, container: Container): Promise<void> {
    const { init, run } = container
    if (init === undefined || run === null) return
    if (run.restored !== undefined && !this.#told.has('StateRestore')) await tellRestored(supervisor, this, container)
    const startedAt = timestamp(nowNs())
    await supervisor.publish(container, 'StateStart', {
      task: this,
      process: init,
      apply: () => {
        container.move('start')
        run.phase = init.status = 'running'
        run.startedAt = init.startedAt = startedAt
      }
    })
  }

  /** The daemon ended in the middle of a create: nobody was told of it, or only that an earlier run had stopped. */
  async #undo (supervisor: Supervisor, container: Container): Promise<void> {
    this.step = 'undoing a create that was interrupted'
    if (container.lastEventId !== null) {
      await startFailed(supervisor, this, container, new LongshoreError('runtime_crashed', 'the daemon ended while the container was being started'))
    }
    await tearDown(supervisor, this, container)
    if (container.lastEventId !== null) {
      supervisor.save(container)
      return
    }
    await container.forget()
    await removeTree(container.root)
  }

  /** No shim: it wrote the exit down before it went, or nobody saw the end. */
  async #without (supervisor: Supervisor, container: Container, sameBoot: boolean): Promise<void> {
    const { init, run } = container
    if (init === undefined || run === null) return
    let facts: ExitFacts | undefined = await readExitRecord(container.outDir, 'init')
    if (facts === undefined) {
      if (sameBoot) {
        run.cgroup ??= await cgroupByPidFile(supervisor, container)
        await killAll(supervisor, container)
      }
      facts = { waitStatus: null, exitedAtNs: nowNs(), oomKills: sameBoot ? await countedSoFar(supervisor, container) : null, outputComplete: false, reason: sameBoot ? 'monitor-lost' : 'host-rebooted' }
    }
    if (!sameBoot) run.cgroup = null
    if (run.phase === 'created' && facts.started === true) await this.#started(supervisor, container)
    // What the shim counted before a reboot took the group: those of processes beside init are told before their exits.
    await tellOomSoFar(supervisor, container, run.runId, facts.oomKills ?? 0)
    await restoreExecs(supervisor, this, container, sameBoot ? 'monitor-lost' : 'host-rebooted')
    exitSeen(supervisor, container, facts)
  }
}

/**
 * The groups of a run whose record was left behind before they were known, by way of the runtime's pid file. The pid may be
 * another process's by now: only groups that bear the name of the run are taken. What is not found is left to the runtime's delete.
 */
async function cgroupByPidFile (supervisor: Supervisor, container: Container): Promise<ContainerCgroup | null> {
  const pid = Number(await readIfThere(join(container.runDir, 'pid')))
  if (!Number.isInteger(pid) || pid <= 0) return null
  const cgroup = await cgroupOf(pid, supervisor.options.cgroups)
  return cgroup?.procs.includes(container.runtimeId) === true ? cgroup : null
}

async function greeted (shim: Shim): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => { timer = setTimeout(() => resolve(false), greetLimit * 1000) })
  try {
    return await Promise.race([shim.hello().then(() => true), late])
  } catch {
    // It ended meanwhile, which is told by its pidfd.
    return true
  } finally {
    clearTimeout(timer)
  }
}
