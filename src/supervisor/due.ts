import type { DeadlineKind } from './deadlines.ts'
import { healthDue } from './health.ts'
import { ExpireTask } from './lease.ts'
import { RestartTask } from './restart-task.ts'
import type { Supervisor } from './supervisor.ts'

/** Makes of what is due the task that sees to it. */
export function due (supervisor: Supervisor, kind: DeadlineKind, id: string): void {
  if (kind === 'health') return healthDue(supervisor, id)
  const task = kind === 'restart' ? new RestartTask(id) : new ExpireTask(id)
  supervisor.send(task).catch((error: unknown) => {
    supervisor.log.error({ err: error, container: id }, 'what was due could not be done')
  })
}
