import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { mapFile, writeRecord } from '../native/index.ts'
import type { Append, LaneRows } from './journal-protocol.ts'

/**
 * The file, version 1: `LSLANE1\n`, 32 hex digits that name it, then at byte 64 the records:
 *
 *   length  u32, of the payload      written last: a record without it is none
 *   crc     u32, CRC-32 of the payload
 *   payload JSON { epoch, base, seq, row }; base: the sequence number of the first record behind the header
 *
 * When all that is in it is in the database, the next record is written behind the header again. Whatever lies behind it
 * then is of an older base, and so is told from what belongs to it.
 */
const magic = Buffer.from('LSLANE1\n')
const idBytes = 32
const headerBytes = 64
const prefixBytes = 8
const fileBytes = 2 * 1024 * 1024
/** fewer than the tail of the hub holds: what is not in the database yet can be read from there */
const maxRecords = 2000

type Record = { epoch: string, base: number, seq: number, row: Append }

/**
 * Events on their way into the database. A record in it survives the daemon's death, since the file is memory that the
 * kernel has (mmap(2), MAP_SHARED), and costs no wait for a thread or a disk. It does not survive the machine's: the
 * database knows the lane by its name, and begins a new history when it has gone.
 */
export class Lane {
  /** names this file; another one may lack what was told out of this one */
  readonly id: string
  readonly #memory: Buffer
  #at = headerBytes
  #base = 0
  #last = 0
  #count = 0

  private constructor (memory: Buffer, id: string) {
    this.#memory = memory
    this.id = id
  }

  /** What an earlier daemon left comes along. Throws a system error where there can be no such file. */
  static open (path: string): { lane: Lane, left: LaneRows | undefined } {
    const memory = Buffer.from(mapFile(path, fileBytes))
    const known = memory.subarray(magic.length, magic.length + idBytes).toString('latin1')
    if (memory.subarray(0, magic.length).equals(magic) && /^[0-9a-f]{32}$/.test(known)) {
      const lane = new Lane(memory, known)
      return { lane, left: lane.#read() }
    }
    memory.fill(0)
    const id = randomBytes(idBytes / 2).toString('hex')
    memory.write(id, magic.length, 'latin1')
    magic.copy(memory)
    return { lane: new Lane(memory, id), left: undefined }
  }

  #read (): LaneRows | undefined {
    const memory = this.#memory
    const rows: Append[] = []
    let begin: Record | undefined
    for (let at = headerBytes; at + prefixBytes < memory.length;) {
      const length = memory.readUInt32LE(at)
      const payload = memory.subarray(at + prefixBytes, at + prefixBytes + length)
      if (length === 0 || payload.length < length || crc32(payload) !== memory.readUInt32LE(at + 4)) break
      const record = JSON.parse(payload.toString()) as Record
      begin ??= record
      if (record.epoch !== begin.epoch || record.base !== begin.seq || record.seq !== begin.seq + rows.length) break
      rows.push(record.row)
      at += prefixBytes + length
    }
    return begin === undefined || rows.length === 0 ? undefined : { epoch: begin.epoch, first: begin.seq, rows }
  }

  /** Takes events in; false when there is no room until more of what it has is in the database. All or none of them count. */
  append (epoch: string, first: number, rows: Append[]): boolean {
    if (this.#count + rows.length > maxRecords) return false
    if (this.#count === 0) {
      this.#at = headerBytes
      this.#base = first
    }
    const memory = this.#memory
    const begin = this.#at
    const lengths: [number, number][] = []
    let at = begin
    for (const [index, row] of rows.entries()) {
      const payload = JSON.stringify({ epoch, base: this.#base, seq: first + index, row } satisfies Record)
      const length = writeRecord(memory, at, payload)
      if (length === 0) return false
      lengths.push([at, length])
      at += prefixBytes + length
    }
    // From the last to the first, so that they are there together.
    for (const [place, length] of lengths.reverse()) memory.writeUInt32LE(length, place)
    this.#at = at
    this.#count += rows.length
    this.#last = first + rows.length - 1
    return true
  }

  /** Everything up to here is in the database. */
  committed (seq: number): void {
    if (seq >= this.#last) this.clear()
  }

  /** Nothing in it matters any more, to the next daemon neither. */
  clear (): void {
    this.#memory.writeUInt32LE(0, headerBytes)
    this.#count = 0
  }
}
