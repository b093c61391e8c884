import type { Entry, Form } from './entry.ts'
import type { Filter } from './filter.ts'

/** bounds of what is kept in memory */
const maxEntries = 4096
const maxBytes = 4 * 1024 * 1024
/** entries that have left it and are still held */
const maxLeft = 256
/** bytes that are written to one reader at a time, if a single event has no more */
export const chunkBytes = 64 * 1024
/** joined chunks that are kept: more than a few different places near the head are rare */
const maxChunks = 16

/** Bytes to write, and the sequence number that the reader has reached with them. */
export type Chunk = { to: number, bytes: Buffer | undefined }

type Joined = Chunk & { bytes: Buffer, full: boolean }

/** The newest events, in memory: where all readers are who keep up. */
export class Tail {
  #entries: Entry[] = []
  /** how many at the beginning of the array have left the tail: they go many at a time, since each time the rest is copied */
  #left = 0
  #size = 0
  readonly #joined = new Map<string, Joined>()

  push (entries: Entry[]): void {
    for (const entry of entries) {
      this.#entries.push(entry)
      this.#size += entry.json.length
    }
    while (this.#count > maxEntries || (this.#size > maxBytes && this.#count > 1)) {
      this.#size -= this.#entries[this.#left]?.json.length ?? 0
      this.#left++
    }
    if (this.#left <= maxLeft && this.#left * 2 < this.#entries.length) return
    this.#entries = this.#entries.slice(this.#left)
    this.#left = 0
  }

  get #count (): number {
    return this.#entries.length - this.#left
  }

  clear (): void {
    this.#entries = []
    this.#left = this.#size = 0
    this.#joined.clear()
  }

  /** True when nothing after this position has left the tail. */
  covers (after: number): boolean {
    const oldest = this.#entries[this.#left]
    return oldest !== undefined && after + 1 >= oldest.seq
  }

  /** What comes after a covered position, up to `end`; one shared buffer for all unfiltered readers at the same place. */
  chunk (after: number, end: number, form: Form, filter: Filter): Chunk {
    return filter.open ? this.#shared(after, end, form) : this.#chosen(after, end, form, filter)
  }

  #shared (after: number, end: number, form: Form): Chunk {
    const key = `${form}${after}`
    const known = this.#joined.get(key)
    if (known !== undefined && (known.to === end || (known.full && known.to < end))) return known
    const parts: Buffer[] = []
    let bytes = 0
    let to = after
    for (let index = this.#indexOf(after + 1); to < end && bytes < chunkBytes; index++) {
      const entry = this.#entries[index]
      if (entry === undefined) break
      const part = entry.bytes(form)
      parts.push(part)
      bytes += part.length
      to = entry.seq
    }
    const [only] = parts
    const made = { to, bytes: parts.length === 1 && only !== undefined ? only : Buffer.concat(parts), full: bytes >= chunkBytes }
    this.#joined.delete(key)
    this.#joined.set(key, made)
    if (this.#joined.size > maxChunks) this.#joined.delete(this.#joined.keys().next().value ?? '')
    return made
  }

  #chosen (after: number, end: number, form: Form, filter: Filter): Chunk {
    const parts: Buffer[] = []
    let bytes = 0
    let to = after
    for (let index = this.#indexOf(after + 1); to < end && bytes < chunkBytes; index++) {
      const entry = this.#entries[index]
      if (entry === undefined) break
      to = entry.seq
      if (!filter.matches(entry)) continue
      const part = entry.bytes(form)
      parts.push(part)
      bytes += part.length
    }
    return { to, bytes: parts.length > 1 ? Buffer.concat(parts) : parts[0] }
  }

  /** The sequence has no holes, so places are found by counting. */
  #indexOf (seq: number): number {
    return seq - (this.#entries[0]?.seq ?? seq)
  }
}
