import { oomKillsOf } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'

/** Tells of OOM kills up to this count; each is told once, and none after the run has ended. */
export async function tellOom (supervisor: Supervisor, container: Container, runId: string, count: number): Promise<void> {
  if (container.run?.runId !== runId || container.run.exit !== null || count <= container.oomTold) return
  container.oomTold = count
  await supervisor.publish(container, 'StateOOM', { ...(container.init === undefined ? {} : { process: container.init }), more: { oomKills: count } })
}

/**
 * Tells of what has been counted and not noticed yet: while no daemon was there, or since the kernel's notice is still on its way.
 * `known`: kills that somebody else has counted, where the group is gone or cannot be read.
 */
export async function tellOomSoFar (supervisor: Supervisor, container: Container, runId: string, known = 0): Promise<void> {
  const { run } = container
  if (run?.runId !== runId || run.phase !== 'running') return
  await tellOom(supervisor, container, runId, Math.max(await countedSoFar(supervisor, container) ?? 0, known))
}

/** The kernel's count of OOM kills; null without a group, or when that cannot be read: an exit waits for this, and has to be told all the same. */
export async function countedSoFar (supervisor: Supervisor, container: Container): Promise<number | null> {
  const { run } = container
  if (run === null || run.cgroup === null) return null
  return await oomKillsOf(run.cgroup).then((count) => count ?? null, (error: unknown) => {
    supervisor.log.error({ err: error, container: container.id }, 'the OOM kills of a container could not be read')
    return null
  })
}
