import { readFiles } from '../native/index.ts'
import type { HostProcessView } from '../schemas/index.ts'
import type { Container } from './container.ts'
import { timestamp } from './exit.ts'

/** Times in /proc/PID/stat are in ticks of USER_HZ, which is 100 on every machine that Node.js runs on (time(7)). */
const nsOfTick = 10_000_000n
const pageSize = 4096
const fileLimit = 4096
/** processes that are read in one go */
const atOnce = 100

/** What the kernel lists of these processes of a container (proc(5): stat, status, cmdline); one that has ended meanwhile is left out. */
export async function describeProcesses (container: Container, pids: number[]): Promise<HostProcessView[]> {
  const init = container.init?.pid
  const { texts: [boot, initStatus] } = await readFiles(['/proc/stat', `/proc/${init ?? 'self'}/status`], 1024 * 1024)
  const bootNs = BigInt(/^btime (\d+)$/m.exec(boot ?? '')?.[1] ?? '0') * 1_000_000_000n
  // How deep the pid namespace of the container lies: a process may be in one that is deeper still.
  const depth = init == null ? undefined : line(initStatus ?? '', 'NSpid')?.length
  const ids = new Map([...container.processes.values()].flatMap(({ id, pid, status }) => (pid === null || status === 'stopped' ? [] : [[pid, id] as const])))
  const found: HostProcessView[] = []
  for (let from = 0; from < pids.length; from += atOnce) {
    const some = pids.slice(from, from + atOnce)
    const { texts } = await readFiles(some.flatMap((pid) => [`/proc/${pid}/stat`, `/proc/${pid}/status`, `/proc/${pid}/cmdline`]), fileLimit)
    for (const [index, pid] of some.entries()) {
      const [stat, status, commandLine] = texts.slice(index * 3, index * 3 + 3)
      if (stat == null || status == null) continue
      found.push({ ...processOf(pid, stat, status, commandLine ?? '', bootNs, depth), processId: ids.get(pid) ?? null })
    }
  }
  return found
}

function line (status: string, name: string): string[] | undefined {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]?.split(/\s+/)
}

/** Exported for its test. `depth`: which of the pids of NSpid is that in the container, counted from 1. */
export function processOf (pid: number, stat: string, status: string, commandLine: string, bootNs: bigint, depth: number | undefined): Omit<HostProcessView, 'processId'> {
  // The name may have spaces and parentheses in it; the last one closes it.
  const close = stat.lastIndexOf(')')
  const name = stat.slice(stat.indexOf('(') + 1, close)
  const fields = stat.slice(close + 2).trim().split(' ')
  const at = (number: number): number => Number(fields[number - 3] ?? 0)
  const args = commandLine.split('\0')
  if (args.at(-1) === '') args.pop()
  const pidInside = line(status, 'NSpid')?.at(depth === undefined ? -1 : depth - 1)
  return {
    pid,
    containerPid: pidInside === undefined ? null : Number(pidInside),
    parentPid: at(4),
    name,
    args,
    state: fields[0] ?? '?',
    uid: Number(line(status, 'Uid')?.[1] ?? 0),
    gid: Number(line(status, 'Gid')?.[1] ?? 0),
    threads: at(20),
    cpuNs: (at(14) + at(15)) * Number(nsOfTick),
    rss: at(24) * pageSize,
    startedAt: timestamp(bootNs + BigInt(at(22)) * nsOfTick)
  }
}
