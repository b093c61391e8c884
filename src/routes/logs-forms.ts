import { isUtf8 } from 'node:buffer'
import { timestamp } from '../runtime/exit.ts'
import type { LogRecord, LostRecord } from '../runtime/log-format.ts'
import type { LostView, OutputView } from '../schemas/index.ts'

/** How records look to a reader. `add` takes one, `take` gives what has come together since the last time. */
export type Form = {
  add: (record: LogRecord) => void
  /** A buffer holds until the next record is added. */
  take: () => Buffer | string
}

const lineBreak = 0x0a
const whyLost: Record<LostRecord['reason'], string> = {
  disk: 'bytes of output could not be written to the disk',
  rotated: 'bytes of the log were written over before they were read',
  damaged: 'bytes of the log cannot be read'
}

/** The bytes as they are, in the order in which they came; what is missing is told in a line of its own. */
export class Text implements Form {
  #parts: Buffer[] = []
  #lineBegins = true
  #stream: string | undefined
  readonly #timestamps: boolean
  /** for what is put together; see LogReader on memory */
  #whole = Buffer.alloc(0)

  constructor (timestamps: boolean) {
    this.#timestamps = timestamps
  }

  add (record: LogRecord): void {
    if (record.kind === 'lost') {
      this.#parts.push(Buffer.from(`${this.#lineBegins ? '' : '\n'}[longshore: ${record.bytes} ${whyLost[record.reason]}]\n`))
      this.#lineBegins = true
      return
    }
    const { bytes, stream } = record
    if (bytes.length === 0) return
    if (this.#timestamps) this.#stamped(bytes, stream, `${timestamp(record.timeNs)} `)
    else this.#parts.push(bytes)
    this.#lineBegins = bytes.at(-1) === lineBreak
  }

  take (): Buffer {
    const parts = this.#parts
    this.#parts = []
    const [first] = parts
    if (parts.length === 1 && first !== undefined) return first
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    if (this.#whole.length < length) this.#whole = Buffer.allocUnsafeSlow(2 * length)
    let at = 0
    for (const part of parts) at += part.copy(this.#whole, at)
    return this.#whole.subarray(0, length)
  }

  /** A stream that breaks into the other's unfinished line goes to a new one, so that every time is at the begin of a line. */
  #stamped (bytes: Buffer, stream: string, stamp: string): void {
    if (!this.#lineBegins && this.#stream !== stream) {
      this.#parts.push(Buffer.from('\n'))
      this.#lineBegins = true
    }
    this.#stream = stream
    // As latin1 each byte is one character and comes back as it was; a break at the very end begins no line yet.
    const text = bytes.toString('latin1')
    const stamped = text.slice(0, -1).replaceAll('\n', `\n${stamp}`) + text.slice(-1)
    this.#parts.push(Buffer.from(this.#lineBegins ? stamp + stamped : stamped, 'latin1'))
  }
}

export function view (record: LogRecord, runId: string): OutputView | LostView {
  const { next: offset } = record
  const id = `${runId}:${offset}`
  if (record.kind === 'lost') {
    return { type: 'lost', id, offset, ...(record.timeNs === undefined ? {} : { time: timestamp(record.timeNs) }), bytes: record.bytes, reason: record.reason }
  }
  const { bytes, stream, timeNs } = record
  return { type: 'output', id, offset, time: timestamp(timeNs), stream, ...(isUtf8(bytes) ? { data: bytes.toString() } : { base64: bytes.toString('base64') }) }
}

/** One JSON object a line. */
export class Lines implements Form {
  #text = ''
  readonly #runId: string

  constructor (runId: string) {
    this.#runId = runId
  }

  add (record: LogRecord): void {
    this.#text += `${JSON.stringify(view(record, this.#runId))}\n`
  }

  take (): string {
    const text = this.#text
    this.#text = ''
    return text
  }
}

/** Output comes without an event name, as `message`; what was lost as `Lost`. */
export class Frames implements Form {
  #text = ''
  readonly #runId: string

  constructor (runId: string) {
    this.#runId = runId
  }

  add (record: LogRecord): void {
    const shown = view(record, this.#runId)
    this.#text += `id: ${shown.id}\n${shown.type === 'lost' ? 'event: Lost\n' : ''}data: ${JSON.stringify(shown)}\n\n`
  }

  take (): string {
    const text = this.#text
    this.#text = ''
    return text
  }
}
