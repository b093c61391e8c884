import { basename, join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { windowOf, type Bundle } from '../runtime/bundle.ts'
import { cgroupOf } from '../runtime/cgroup.ts'
import { newRunId, type Container } from '../runtime/container.ts'
import { nowNs } from '../native/index.ts'
import { timestamp } from '../runtime/exit.ts'
import { whenExecuted } from '../runtime/executed.ts'
import { exists, type FileStep } from '../runtime/files.ts'
import { findRuntime, runtimeError, runtimeWords } from '../runtime/oci.ts'
import { Shim, type RuntimeResult } from '../runtime/shim.ts'
import { watchRun } from './exit.ts'
import { beginHealth } from './health.ts'
import { tellOom } from './oom.ts'
import { restoreError, tellRestored, type Restoration } from './restoration.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/**
 * A new run up to the point where init exists and waits for its start, with every watch armed.
 * With `from` the runtime's restore takes the place of its create: init goes on from its checkpoint, and runs already.
 * Its record is on disk before anything is spawned, so that no crash leaves a shim that nobody looks for.
 */
export async function createRun (supervisor: Supervisor, task: Task<unknown>, container: Container, bundle: Bundle, from?: Restoration): Promise<void> {
  const { options } = supervisor
  const runtimePath = await findRuntime(container.runtime)
  if (from !== undefined) await supervisor.criu.require(runtimePath)
  container.beginRun({
    runId: newRunId(),
    phase: 'creating',
    bootId: options.bootId,
    runtimePath,
    process: bundle.process,
    resources: bundle.resources,
    pid: null,
    cgroup: null,
    startedAt: null,
    exit: null,
    ...(from === undefined ? {} : { restored: from.checkpoint }),
    tornDown: false
  })
  container.ownPids = bundle.ownPids
  const run = container.run
  const init = container.init
  if (run === null || init === undefined) throw new Error('a run begins with its init')
  const steps: FileStep[] = [{ op: 'mkdir', path: container.runDir }]
  const work = join(container.runDir, 'restore')
  if (from !== undefined) steps.push({ op: 'mkdir', path: work })
  let bundlePath = bundle.path
  if (bundle.rewritten !== undefined) {
    bundlePath = join(container.runDir, 'bundle')
    steps.push({ op: 'mkdir', path: bundlePath }, { op: 'write', path: join(bundlePath, 'config.json'), text: JSON.stringify(bundle.rewritten) })
  }
  await container.save(steps)
  failpoint('create.recorded')
  const { version, v1, v2 } = options.cgroups
  const memoryMount = version === 1 ? v1.get('memory') : v2
  const step = from === undefined ? 'runtime create' : 'runtime restore'
  const result = await supervisor.runtimeCall(task, step, async (got) => {
    const { shim, created } = await Shim.spawn(options.watch, {
      runtimeId: container.runtimeId,
      bundle: bundlePath,
      outDir: container.outDir,
      runDir: container.runDir,
      terminal: bundle.process.terminal === true,
      window: windowOf(bundle.process),
      noPivotRoot: container.noPivotRoot,
      logSegmentBytes: options.logSegmentBytes,
      logSegments: options.logSegments,
      memory: memoryMount === undefined ? undefined : { version, mount: memoryMount },
      runtime: runtimePath,
      globalArgs: container.globalArgs,
      restore: from === undefined ? undefined : ['--image-path', from.images, '--work-path', work, ...from.flags],
      startFifo: basename(runtimePath) === 'runc' && !bundle.poststart ? execFifo(container) : undefined
    })
    container.shim = shim
    got(shim)
    failpoint('create.spawned')
    return await created
  })
  await expectSuccess(container, step, result).catch(async (error: unknown) => { throw from === undefined ? error : await restoreError(error, work) })
  if (result.pid <= 0) throw new LongshoreError('runtime_crashed', `${step}: the runtime reported success but made no process`, { extra: { step } })
  init.pid = run.pid = result.pid
  await arm(supervisor, container)
  failpoint('create.armed')
}

/** Everything that is to be seen of a run is watched from here on. Also used for a run found after a restart. */
export async function arm (supervisor: Supervisor, container: Container): Promise<void> {
  const { run } = container
  if (run === null) return
  if (run.pid !== null) run.cgroup ??= await cgroupOf(run.pid, supervisor.options.cgroups) ?? null
  watchRun(supervisor, container)
  if (run.cgroup?.memory === undefined) return
  try {
    container.oomToken = supervisor.options.watch.monitor.watchOom({ version: run.cgroup.version, dir: run.cgroup.memory })
    supervisor.options.watch.on(container.oomToken, (event) => {
      if (event.kind !== 'oom') return
      // What runs out of memory at once is not told before its start.
      if (run.phase === 'running') void tellOom(supervisor, container, run.runId, event.count)
      else container.oomSeen = event.count
    })
  } catch (error) {
    // The group went with its process: the exit says what the shim counted.
    if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENODEV')) supervisor.log.warn({ err: error, container: container.id }, 'OOM kills of the container cannot be watched')
  }
}

/** There while init waits for its start, in the state that runc and crun keep. */
function execFifo (container: Container): string {
  return join(container.runtimeDir, 'exec.fifo')
}

/** seconds from the runtime's word that init was started to its execve(2); a busy host makes it late, never that late */
const execLimit = 5

/** Lets a created init go on to its command; one that was restored runs already, which is only told. */
export async function startRun (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { run, shim, init } = container
  if (run === null || shim === undefined || init === undefined) throw new LongshoreError('runtime_crashed', 'the shim of the container has ended')
  if (run.restored === undefined) await callStart(supervisor, task, container, shim)
  else await tellRestored(supervisor, task, container)
  failpoint('start.called')
  task.step = 'writing the journal'
  const at = nowNs()
  const startedAt = timestamp(at)
  await supervisor.publish(container, 'StateStart', {
    task,
    process: init,
    at,
    apply: () => {
      container.releaseView()
      // A stop that came meanwhile goes on: it waits for the exit.
      if (container.status !== 'stopping') container.move('start')
      run.phase = init.status = 'running'
      run.startedAt = init.startedAt = startedAt
      container.lifecycle.restart.nextAt = null
      beginHealth(supervisor, container)
    }
  })
  failpoint('start.told')
  supervisor.saveSoon(container)
  if (container.oomSeen > 0) await tellOom(supervisor, container, run.runId, container.oomSeen)
}

async function callStart (supervisor: Supervisor, task: Task<unknown>, container: Container, shim: Shim): Promise<void> {
  const result = await supervisor.runtimeCall(task, 'runtime start', async (got) => {
    got(shim)
    return await shim.start()
  })
  await expectSuccess(container, 'runtime start', result)
  if (await exists(execFifo(container))) throw new LongshoreError('runtime_crashed', 'runtime start: the runtime reported success, but init still waits for its start', { extra: { step: 'runtime start' } })
  if (container.run?.pid != null && !await whenExecuted(container.run.pid, execLimit)) supervisor.log.warn({ container: container.id, pid: container.run.pid }, 'the runtime reported success, but init does not seem to have executed its command')
}

/** Throws what the runtime said when its call did not succeed. */
async function expectSuccess (container: Container, step: string, result: RuntimeResult): Promise<void> {
  if (result.waitStatus === 0 && result.error === 0) return
  const words = await runtimeWords(join(container.runDir, 'runtime.log'), join(container.runDir, 'runtime.err'))
  throw runtimeError(step, result, words)
}
