import { readFile } from 'node:fs/promises'

export function quantile (values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN
}

export const median = (values: number[]): number => quantile(values, 0.5)

/** How far the middle half of them spreads: first and third quarter. */
export const spread = (values: number[]): [number, number] => [quantile(values, 0.25), quantile(values, 0.75)]

/** A number in a table: three digits that mean something; a dash for none. */
export const short = (value: number): string => (Number.isNaN(value) ? '–' : value >= 100 ? Math.round(value).toLocaleString('en-US') : value >= 10 ? value.toFixed(1) : value.toFixed(2))

/** Milliseconds that the work takes. */
export async function timed (work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** Does it over and over, `width` at a time, for so many seconds; returns how often. */
export async function repeat (seconds: number, width: number, work: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + seconds * 1000
  let done = 0
  await Promise.all(Array.from({ length: width }, async () => {
    for (; performance.now() < end; done++) await work()
  }))
  return done
}

/** Milliseconds of each of `count` pieces of work, fewer where they take longer than `seconds` in all. */
export async function samples (count: number, seconds: number, work: () => Promise<unknown>): Promise<number[]> {
  const values: number[] = []
  const end = performance.now() + seconds * 1000
  while (values.length < count && (values.length === 0 || performance.now() < end)) values.push(await timed(work))
  return values
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

/** JSON for a file: a list of numbers on one line, none with more digits than were measured. */
export function jsonFile (value: unknown): string {
  const rounded = JSON.stringify(value, (_key, item: unknown) => (typeof item === 'number' && !Number.isInteger(item) ? Number(item.toPrecision(5)) : item), 1)
  return `${rounded.replace(/\[[-\d.,e+\s]+\]/g, (list) => list.replace(/\s+/g, ' '))}\n`
}
