import { mkdir, rm, writeFile, appendFile } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'

const little = endianness() === 'LE'

/** A record as src/native/shim/log.c writes it. */
export function logRecord (stream: number, bytes: Buffer, timeNs: bigint): Buffer {
  const header = Buffer.alloc(16)
  if (little) {
    header.writeBigUInt64LE(timeNs, 0)
    header.writeUInt32LE(bytes.length, 8)
  } else {
    header.writeBigUInt64BE(timeNs, 0)
    header.writeUInt32BE(bytes.length, 8)
  }
  header[12] = stream
  return Buffer.concat([header, bytes])
}

/** Writes a log by hand, for what no shim would write on demand: damage, gaps, times of long ago. */
export class LogWriter {
  readonly directory: string
  readonly segmentBytes: number
  readonly starts: number[] = []
  offset = 0
  timeNs = 1_700_000_000_000_000_000n

  constructor (directory: string, segmentBytes: number) {
    this.directory = directory
    this.segmentBytes = segmentBytes
  }

  get path (): string {
    return join(this.directory, `output-${String(this.starts.at(-1) ?? 0).padStart(20, '0')}.log`)
  }

  async segment (): Promise<void> {
    await mkdir(this.directory, { recursive: true })
    this.starts.push(this.offset)
    await writeFile(this.path, '')
  }

  /** One record; each is a second later than the one before. */
  async write (stream: number, text: string | Buffer): Promise<void> {
    if (this.starts.length === 0 || this.offset - (this.starts.at(-1) ?? 0) >= this.segmentBytes) await this.segment()
    await this.raw(logRecord(stream, Buffer.from(text), this.timeNs))
    this.timeNs += 1_000_000_000n
  }

  async lost (bytes: number): Promise<void> {
    const payload = Buffer.alloc(8)
    if (little) payload.writeBigInt64LE(BigInt(bytes))
    else payload.writeBigInt64BE(BigInt(bytes))
    await this.raw(logRecord(255, payload, this.timeNs))
  }

  async raw (bytes: Buffer): Promise<void> {
    await appendFile(this.path, bytes)
    this.offset += bytes.length
  }

  /** Drops the oldest segment, as rotation does. */
  async drop (): Promise<void> {
    const start = this.starts.shift() ?? 0
    await rm(join(this.directory, `output-${String(start).padStart(20, '0')}.log`))
  }
}
