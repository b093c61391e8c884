import { readFile } from 'node:fs/promises'

export function quantile (values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN
}

export const median = (values: number[]): number => quantile(values, 0.5)

/** Milliseconds that the work takes. */
export async function timed (work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** Linux counts CPU time for processes in ticks of 10 ms (sysconf(_SC_CLK_TCK)). */
const tick = 10

/**
 * Milliseconds of CPU that a process, and those of its descendants that were waited for, have taken (proc(5), "stat"): for a
 * daemon that is itself, its shims that have ended, and the runtimes and containers that those have reaped.
 */
export async function cpuTime (pid: number | 'self'): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0) * tick
}

/** A field of smaps_rollup (proc(5)) in KiB. */
export async function memory (pid: number, field: 'Pss' | 'Pss_Anon' | 'Rss' = 'Pss'): Promise<number> {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
}
