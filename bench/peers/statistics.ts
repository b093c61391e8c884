/** The value below which a share q of them lies; NaN of none. */
export function quantile (values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN
}

export const median = (values: number[]): number => quantile(values, 0.5)

/** How far the middle half of them spreads: first and third quarter. */
export function spread (values: number[]): [number, number] {
  return [quantile(values, 0.25), quantile(values, 0.75)]
}

export async function timed (work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** `count` pieces of work, `width` at a time; returns how many a second. */
export async function rate (count: number, width: number, work: (index: number) => Promise<unknown>): Promise<number> {
  let next = 0
  const seconds = await timed(async () => {
    await Promise.all(Array.from({ length: width }, async () => {
      while (next < count) await work(next++)
    }))
  }) / 1000
  return count / seconds
}
