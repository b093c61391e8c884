import { join } from 'node:path'
import { LongshoreError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { Checkpoints, type CheckpointRecord } from '../runtime/checkpoints.ts'
import type { Container } from '../runtime/container.ts'
import { criuWords } from '../runtime/criu.ts'
import { readIfThere } from '../runtime/files.ts'
import type { CheckpointSource, CheckpointView, EventView } from '../schemas/index.ts'
import type { Supervisor } from './supervisor.ts'
import type { Task } from './task.ts'

/** What a run is restored from. */
export type Restoration = {
  checkpoint: NonNullable<EventView['checkpoint']>
  process: CheckpointRecord['process']
  images: string
  /** of the runtime's restore */
  flags: string[]
}

/** The container and the name that a request means; a name alone is one of the container `id`. */
export function sourceOf (source: CheckpointSource, id: string): { container: string, name: string } {
  if (typeof source !== 'string') return source
  const [first = '', second] = source.split('/')
  return second === undefined ? { container: id, name: first } : { container: first, name: second }
}

/** Throws checkpoint_not_found. */
export async function restorationOf (supervisor: Supervisor, { container: id, name }: { container: string, name: string }): Promise<Restoration> {
  const container = supervisor.containers.get(id)
  if (container === undefined) throw new LongshoreError('checkpoint_not_found', `there is no container ${id}, and so no checkpoint ${name} of it`)
  const store = new Checkpoints(container.root)
  const record = await store.find(id, name)
  return { checkpoint: checkpointOf(record), process: record.process, images: store.images(name), flags: checkpointFlags(record) }
}

/** Arguments of both the runtime's checkpoint and its restore (runc; crun has no --empty-ns). */
export function checkpointFlags ({ tcp, unixSockets, shell, emptyNS }: Pick<CheckpointView, 'tcp' | 'unixSockets' | 'shell' | 'emptyNS'>): string[] {
  return [...(tcp ? ['--tcp-established'] : []), ...(unixSockets ? ['--ext-unix-sk'] : []), ...(shell ? ['--shell-job'] : []), ...emptyNS.flatMap((namespace) => ['--empty-ns', namespace])]
}

/** A checkpoint, as events name it. */
export function checkpointOf ({ containerId, name, createdAt, exit }: CheckpointView): NonNullable<EventView['checkpoint']> {
  return { container: containerId, name, createdAt, exit }
}

/** The StateRestore of a run that came out of a checkpoint; its StateStart follows. */
export async function tellRestored (supervisor: Supervisor, task: Task<unknown>, container: Container): Promise<void> {
  const { init, run } = container
  if (init === undefined || run?.restored === undefined) return
  task.step = 'writing the journal'
  await supervisor.publish(container, 'StateRestore', { task, process: init, more: { checkpoint: run.restored } })
  failpoint('restored.told')
}

/** What the runtime said of a restore that failed, with what CRIU said. `work`: its work path. */
export async function restoreError (error: unknown, work: string): Promise<unknown> {
  if (!(error instanceof LongshoreError)) return error
  const words = criuWords(await readIfThere(join(work, 'restore.log')).catch(() => undefined) ?? '')
  if (words === undefined) return error
  // No command was executed, so that one was not found, or could not be, is not what the words mean.
  const { exitStatus: _, ...extra } = error.extra
  return new LongshoreError(error.code, `${error.message}; CRIU said: ${words}`, { cause: error, extra: { ...extra, runtime: words } })
}
