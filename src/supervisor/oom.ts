import { oomKillsOf } from '../runtime/cgroup.ts'
import type { Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'

/** Tells of OOM kills up to this count; each is told once, and none after the run has ended. */
export async function tellOom (supervisor: Supervisor, container: Container, runId: string, count: number): Promise<void> {
  if (container.run?.runId !== runId || container.run.exit !== null || count <= container.oomTold) return
  container.oomTold = count
  await supervisor.publish(container, 'StateOOM', { ...(container.init === undefined ? {} : { process: container.init }), more: { oomKills: count } })
}

/** Tells of what has been counted and not noticed yet: while no daemon was there, or since the kernel's notice is still on its way. */
export async function tellOomSoFar (supervisor: Supervisor, container: Container, runId: string): Promise<void> {
  const { run } = container
  if (run?.runId !== runId || run.phase !== 'running' || run.cgroup === null) return
  await tellOom(supervisor, container, runId, await oomKillsOf(run.cgroup) ?? 0)
}
