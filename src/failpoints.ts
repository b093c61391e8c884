/** Where tests let the daemon die: LONGSHORE_FAILPOINT=<name>, or <name>:<n> for the n-th time that it comes by. Inert without it. */
const [armed = '', times = '1'] = (process.env.LONGSHORE_FAILPOINT ?? '').split(':')
let left = Number(times)

export type Failpoint =
  | 'create.recorded' | 'create.spawned' | 'create.armed' | 'create.told'
  | 'start.called' | 'start.told'
  | 'exec.recorded' | 'exec.asked' | 'exec.called' | 'exec.told' | 'exec-exit.seen' | 'exec-exit.told'
  | 'exit.seen' | 'exit.told'
  | 'teardown.deleted' | 'teardown.quit' | 'teardown.cleared'
  | 'delete.forgotten' | 'delete.told'
  | 'pause.frozen' | 'pause.told' | 'resume.thawed' | 'resume.told'
  | 'checkpoint.begun' | 'checkpoint.dumped' | 'checkpoint.kept' | 'checkpoint.told' | 'restored.told'
  | 'update.recorded' | 'update.applied' | 'update.told'
  | 'journal.committed'
  | 'restore.loaded' | 'restore.connected' | 'restore.armed'
  | 'restart.decided' | 'restart.told' | 'restart.due' | 'lease.told'
  | 'health.recorded' | 'health.told' | 'health.acting'

export function failpoint (name: Failpoint): void {
  if (name === armed && --left === 0) process.kill(process.pid, 'SIGKILL')
}
