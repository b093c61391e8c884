/** What is done to a daemon and its containers from outside the API, a moment before the daemon dies itself. */
import { readFile, readdir } from 'node:fs/promises'
import type { Failpoint } from '../../src/failpoints.ts'
import type { Daemon } from '../support/daemon.ts'
import type { Fault } from './checker.ts'

/** Steps at which a daemon may be told to die by itself; those of restore end it before it is ready. */
export const failpoints: Failpoint[] = [
  'create.recorded', 'create.spawned', 'create.armed', 'create.told', 'start.called', 'start.told', 'exit.seen', 'exit.told',
  'teardown.deleted', 'teardown.quit', 'teardown.cleared', 'delete.forgotten', 'delete.told', 'journal.committed',
  'exec.recorded', 'exec.asked', 'exec.called', 'exec.told', 'exec-exit.seen', 'exec-exit.told', 'pause.frozen', 'pause.told', 'resume.thawed', 'resume.told',
  'restart.decided', 'restart.told', 'restart.due', 'lease.told', 'restore.loaded', 'restore.connected', 'restore.armed'
]

/** The name of a run, as the runtime has it: the container and the run. */
const runIn = /\.([0-9a-f]{20})\0/

/** Kills, or stops for a while, something that is not the daemon; the faults that were really done are pushed. */
export async function strike (daemon: Daemon, dice: () => number, faults: Fault[]): Promise<void> {
  const what = dice()
  const any = <T>(list: readonly T[]): T | undefined => list[Math.floor(dice() * list.length)]
  if (what < 0.25) {
    const shim = any(await daemon.shims())
    const runId = shim === undefined ? undefined : runIn.exec(await commandLine(shim))?.[1]
    if (shim === undefined || runId === undefined) return
    signal(shim, 'SIGKILL')
    faults.push({ kind: 'shim', runId })
  } else if (what < 0.5) {
    const { body } = await daemon.get('/containers?limit=1000').catch(() => ({ body: undefined }))
    const victim = any(((body?.items ?? []) as { runId: string, pid: number | null }[]).filter(({ pid }) => pid !== null))
    if (victim?.pid == null) return
    signal(victim.pid, 'SIGKILL')
    faults.push({ kind: 'init', runId: victim.runId })
  } else if (what < 0.7) {
    const calls: { pid: number, line: string }[] = []
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue
      const line = await commandLine(Number(name))
      const [program = '', ...words] = line.split('\0')
      if (program.endsWith('runc') && line.includes(daemon.state) && !words.includes('init')) calls.push({ pid: Number(name), line })
    }
    const call = any(calls)
    if (call === undefined) return
    signal(call.pid, 'SIGKILL')
    const runId = runIn.exec(call.line)?.[1]
    faults.push({ kind: 'runtime', ...(runId === undefined ? {} : { runId }) })
  } else if (what < 0.8) {
    // Stopped over the daemon's death, and for less than a shim has to greet the next one: it must be found, not given up.
    const shim = any(await daemon.shims())
    if (shim === undefined) return
    signal(shim, 'SIGSTOP')
    setTimeout(() => signal(shim, 'SIGCONT'), 200 + dice() * 800)
    faults.push({ kind: 'stopped shim' })
  }
}

async function commandLine (pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
}

function signal (pid: number, name: NodeJS.Signals): void {
  try { process.kill(pid, name) } catch { /* it was quicker */ }
}
