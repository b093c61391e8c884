/**
 * The records of an output log, as src/native/shim/log.c writes them: 16 bytes of header (time in ns since 1970 as u64, length
 * as u32, stream as u8, three zeros, in the machine's byte order), then the bytes of one read(2) of the container's stream.
 */
export const headerSize = 16

/** bytes: no shim writes a longer record, so a longer one is damage */
export const longestRecord = 1024 * 1024

const streamLost = 255
const streams: Record<number, 'stdout' | 'stderr' | undefined> = { 1: 'stdout', 2: 'stderr' }
const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** What the container wrote at once. */
export type OutputRecord = {
  kind: 'output'
  /** where the record begins, in bytes over all segments */
  start: number
  /** where to go on after it */
  next: number
  /** nanoseconds since 1970, when the shim read it */
  timeNs: bigint
  stream: 'stdout' | 'stderr'
  bytes: Buffer
}

/**
 * Output that cannot be had. `disk`: it could not be written; `rotated`: it was written over before this reader came to it;
 * `damaged`: the file does not hold what was written. For the last two the bytes count headers too, and the time is not known.
 */
export type LostRecord = { kind: 'lost', start: number, next: number, timeNs: bigint | undefined, bytes: number, reason: 'disk' | 'rotated' | 'damaged' }

export type LogRecord = OutputRecord | LostRecord

/** `need`: the bytes that the record after the whole ones has, header included, as far as known; undefined where no record can be. */
export type Parsed = { records: LogRecord[], used: number, need: number | undefined }

/** The whole records at the head of a chunk that lies at `start` of the log. The records share the chunk's memory. */
export function parseRecords (chunk: Buffer, start: number): Parsed {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  const records: LogRecord[] = []
  let at = 0
  for (;;) {
    if (chunk.length - at < headerSize) return { records, used: at, need: headerSize }
    const length = view.getUint32(at + 8, little)
    const number = view.getUint32(at + 12, little)
    // The stream is one byte, and the three behind it are zero: as a word it is the stream itself, or that in the highest byte.
    const code = little ? number : number >>> 24
    const stream = streams[code]
    if (length > longestRecord || (stream === undefined && (code !== streamLost || length !== 8)) || (!little && (number & 0xffffff) !== 0)) return { records, used: at, need: undefined }
    const whole = headerSize + length
    if (chunk.length - at < whole) return { records, used: at, need: whole }
    const timeNs = view.getBigUint64(at, little)
    const place = { start: start + at, next: start + at + whole, timeNs }
    if (stream === undefined) records.push({ kind: 'lost', ...place, bytes: Number(view.getBigInt64(at + headerSize, little)), reason: 'disk' })
    else records.push({ kind: 'output', ...place, stream, bytes: chunk.subarray(at + headerSize, at + whole) })
    at += whole
  }
}
