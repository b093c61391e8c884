import { LogReader } from './log-reader.ts'
import { endOnDisk, segmentStarts } from './log-segments.ts'

export type CapturedText = { text: string, truncated: boolean }

/**
 * What a process wrote, as text: of each stream the first `limit` bytes that are still kept. `truncated` when there was more, or
 * something was lost. Bytes that are no UTF-8 become U+FFFD.
 */
export async function readOutput (directory: string, limit: number): Promise<{ stdout: CapturedText, stderr: CapturedText }> {
  const kept = { stdout: { parts: [] as Buffer[], size: 0, truncated: false }, stderr: { parts: [] as Buffer[], size: 0, truncated: false } }
  const [first = 0] = await segmentStarts(directory)
  if (first > 0) kept.stdout.truncated = kept.stderr.truncated = true
  const reader = new LogReader(directory, first)
  const end = await endOnDisk(directory)
  const full = ({ size }: { size: number }): boolean => size >= limit
  try {
    while (!(full(kept.stdout) && full(kept.stderr))) {
      const records = await reader.read(end)
      if (records.length === 0) break
      for (const record of records) {
        if (record.kind === 'lost') {
          kept.stdout.truncated = kept.stderr.truncated = true
          continue
        }
        const stream = kept[record.stream]
        if (record.bytes.length > limit - stream.size) stream.truncated = true
        // A copy: the records share their chunk's memory.
        const part = Buffer.from(record.bytes.subarray(0, limit - stream.size))
        stream.parts.push(part)
        stream.size += part.length
      }
    }
    if (reader.position < end) kept.stdout.truncated = kept.stderr.truncated = true
  } finally {
    await reader.close()
  }
  const text = ({ parts, truncated }: { parts: Buffer[], truncated: boolean }): CapturedText => ({ text: Buffer.concat(parts).toString('utf8'), truncated })
  return { stdout: text(kept.stdout), stderr: text(kept.stderr) }
}
