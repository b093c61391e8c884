import type { LogRecord } from './log-format.ts'
import { LogReader } from './log-reader.ts'
import { segmentStarts } from './log-segments.ts'
import { turn } from './log-turns.ts'

/** A place in a log: a record, and how many of its bytes come before. */
export type Place = { offset: number, skip: number }

type Stretch = { offset: number, breaks: number }

const lineBreak = 0x0a

/**
 * Where the last `lines` lines before `end` begin, of the records that `keep` lets through, as they follow one another. A last
 * line without its break counts. Goes through whole segments, the newest first, and through no more than it needs.
 */
export async function placeOfTail (directory: string, end: number, lines: number, keep: (record: LogRecord) => boolean): Promise<Place> {
  if (lines === 0) return { offset: end, skip: 0 }
  let wanted = lines
  let found = 0
  let whole: boolean | undefined
  let stretches: Stretch[] = []
  let limit = end
  for (const start of (await segmentStarts(directory)).reverse()) {
    if (start >= limit) continue
    const these: Stretch[] = []
    let last: number | undefined
    await eachChunk(directory, start, limit, (records) => {
      const stretch = { offset: records[0]?.start ?? start, breaks: 0 }
      for (const record of records) {
        if (record.kind !== 'output' || !keep(record) || record.bytes.length === 0) continue
        stretch.breaks += breaks(record.bytes)
        last = record.bytes.at(-1)
      }
      // Without line breaks a stretch is only a longer way to the one behind it.
      if (stretch.breaks > 0 || these.length === 0) these.push(stretch)
      return true
    })
    if (whole === undefined && last !== undefined) {
      // The break that ends the last line begins no line.
      whole = last === lineBreak
      if (whole) wanted++
    }
    found += these.reduce((sum, one) => sum + one.breaks, 0)
    stretches = [...these, ...stretches]
    limit = start
    if (found >= wanted) return await placeAfter(directory, end, stretches, found - wanted + 1, keep)
  }
  return { offset: limit, skip: 0 }
}

/** Where the last `bytes` bytes of output before `end` begin, or a little before: at the begin of a record. */
export async function placeOfBytes (directory: string, end: number, bytes: number): Promise<Place> {
  if (bytes === 0) return { offset: end, skip: 0 }
  const sizes: { offset: number, bytes: number }[] = []
  let limit = end
  for (const start of (await segmentStarts(directory)).reverse()) {
    if (start >= limit) continue
    let window: typeof sizes = []
    let held = 0
    const behind = sizes.reduce((sum, one) => sum + one.bytes, 0)
    await eachChunk(directory, start, limit, (records) => {
      for (const record of records) {
        if (record.kind !== 'output') continue
        window.push({ offset: record.start, bytes: record.bytes.length })
        held += record.bytes.length
      }
      // What can no longer be among the last bytes is forgotten, in one go for each chunk.
      let surplus = 0
      while (surplus < window.length && held - (window[surplus]?.bytes ?? 0) + behind >= bytes) held -= window[surplus++]?.bytes ?? 0
      window = window.slice(surplus)
      return true
    })
    sizes.unshift(...window)
    limit = start
    if (held + behind >= bytes) return { offset: sizes[0]?.offset ?? end, skip: 0 }
  }
  return { offset: limit, skip: 0 }
}

/** The place behind the nth line break, counted from the first stretch. */
async function placeAfter (directory: string, end: number, stretches: Stretch[], nth: number, keep: (record: LogRecord) => boolean): Promise<Place> {
  let left = nth
  let from = stretches[0]?.offset ?? end
  for (const { offset, breaks } of stretches) {
    from = offset
    if (breaks >= left) break
    left -= breaks
  }
  let place: Place = { offset: end, skip: 0 }
  await eachChunk(directory, from, end, (records) => {
    for (const record of records) {
      if (record.kind !== 'output' || !keep(record)) continue
      let at = -1
      do {
        at = record.bytes.indexOf(lineBreak, at + 1)
        if (at !== -1) left--
      } while (at !== -1 && left > 0)
      if (at === -1) continue
      place = at + 1 === record.bytes.length ? { offset: record.next, skip: 0 } : { offset: record.start, skip: at + 1 }
      return false
    }
    return true
  })
  return place
}

/** Calls `visit` with each chunk of records from `start` to `end`, until it returns false. */
async function eachChunk (directory: string, start: number, end: number, visit: (records: LogRecord[]) => boolean): Promise<void> {
  const reader = new LogReader(directory, start)
  try {
    for (;;) {
      const records = await reader.read(end)
      if (records.length === 0) return
      await turn()
      if (!visit(records)) return
    }
  } finally {
    await reader.close()
  }
}

function breaks (bytes: Buffer): number {
  let count = 0
  for (let at = 0; at < bytes.length; at++) if (bytes[at] === lineBreak) count++
  return count
}
