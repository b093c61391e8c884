import type { Container } from '../runtime/container.ts'
import type { Supervisor } from './supervisor.ts'

/** Tells of OOM kills up to this count; each is told once, and none after the run has ended. */
export async function tellOom (supervisor: Supervisor, container: Container, runId: string, count: number): Promise<void> {
  if (container.run?.runId !== runId || container.run.exit !== null || count <= container.oomTold) return
  container.oomTold = count
  await supervisor.publish(container, 'StateOOM', { ...(container.init === undefined ? {} : { process: container.init }) })
}
