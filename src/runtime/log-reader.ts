import type { FileHandle } from 'node:fs/promises'
import { headerSize, parseRecords, type LogRecord } from './log-format.ts'
import { openSegment, segmentStarts } from './log-segments.ts'

/** bytes of the log that are read at once, which is also about what a reader costs in memory */
export const chunkSize = 64 * 1024

/**
 * Reads a log by offset over its segments, also while the shim goes on and drops old ones. It holds the segment open that it
 * reads, so one that is dropped meanwhile is read to its end.
 */
export class LogReader {
  /** bytes of the log before the next record */
  position: number
  readonly #directory: string
  #file: FileHandle | undefined
  #start = 0
  /** one for all reads: memory outside V8's heap, taken anew for each, made it collect garbage every 50 ms of a flood, for up to 15 ms */
  #memory = Buffer.alloc(0)

  constructor (directory: string, position: number) {
    this.#directory = directory
    this.position = position
  }

  /**
   * The next records before `end`, at most about `chunkSize` bytes of them; none at the end. Their bytes hold until the next
   * read. What is missing on the way is a record of its own. `settled`: all before `end` has been written, as the shim tells it or since the log has ended for good; what
   * is not there then is gone. Else the shim may be in the middle of a record. `final`: nothing will be written after it.
   */
  async read (end: number, settled = false, final = settled): Promise<LogRecord[]> {
    let need = headerSize
    while (this.position < end) {
      if (this.#file === undefined) {
        const lost = await this.#find(end)
        if (lost !== undefined) return [lost]
        if (this.#file === undefined) return []
      }
      const file: FileHandle = this.#file
      const chunk = this.#room(Math.min(Math.max(chunkSize, need), end - this.position))
      const { bytesRead } = await file.read(chunk, 0, chunk.length, this.position - this.#start)
      const parsed = parseRecords(chunk.subarray(0, bytesRead), this.position)
      if (parsed.records.length > 0) {
        this.position += parsed.used
        return parsed.records
      }
      if (parsed.need !== undefined && parsed.need > bytesRead && bytesRead === chunk.length && this.position + parsed.need <= end) {
        need = parsed.need
        continue
      }
      // No record begins here: this segment has nothing more.
      const lost = await this.#leave(end, parsed.need === undefined ? 'damaged' : bytesRead, settled, final)
      if (lost === 'wait') return []
      if (lost !== undefined) return [lost]
      need = headerSize
    }
    return []
  }

  /** A reader of little output keeps little memory. */
  #room (length: number): Buffer {
    if (this.#memory.length < length) this.#memory = Buffer.allocUnsafeSlow(length <= chunkSize ? Math.min(2 * length, chunkSize) : length)
    return this.#memory.subarray(0, length)
  }

  async close (): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  /** Opens the segment that has the position, or the first one after it; tells what was rotated away before that. */
  async #find (end: number): Promise<LogRecord | undefined> {
    const exact = await openSegment(this.#directory, this.position)
    if (exact !== undefined) return this.#take(exact, this.position)
    // The oldest one may be dropped after each listing; the shim cannot go on doing that faster than this goes on for long.
    for (;;) {
      const starts = await segmentStarts(this.#directory)
      const start = starts.findLast((one) => one <= this.position) ?? starts[0]
      if (start === undefined) return this.#skip(end, 'rotated')
      const file = await openSegment(this.#directory, start)
      if (file === undefined) continue
      this.#take(file, start)
      return start > this.position ? this.#skip(start, 'rotated') : undefined
    }
  }

  #take (file: FileHandle, start: number): undefined {
    this.#file = file
    this.#start = start
    return undefined
  }

  /** Goes on from a segment that has no whole record at the position, though `rest` bytes of one are there. */
  async #leave (end: number, rest: number | 'damaged', settled: boolean, final: boolean): Promise<LogRecord | 'wait' | undefined> {
    const next = (await segmentStarts(this.#directory)).find((one) => one > this.#start)
    if (next === undefined && settled && !final && rest !== 'damaged' && this.position + rest === end) {
      // A record that the disk cut short, as below, with no segment behind it yet.
      this.position = end
      return undefined
    }
    if (next === undefined) return settled ? this.#skip(end, 'damaged') : 'wait'
    await this.close()
    if (next <= this.position) return undefined
    const file = await openSegment(this.#directory, next)
    if (file === undefined) return undefined
    this.#take(file, next)
    // A record that the disk cut short stays at the end of its segment; the shim itself tells in its log what was lost by it.
    if (rest !== 'damaged' && next === this.position + rest) {
      this.position = next
      return undefined
    }
    return this.#skip(next, rest === 0 ? 'rotated' : 'damaged')
  }

  #skip (to: number, reason: 'rotated' | 'damaged'): LogRecord {
    const start = this.position
    this.position = to
    return { kind: 'lost', start, next: to, timeNs: undefined, bytes: to - start, reason }
  }
}
