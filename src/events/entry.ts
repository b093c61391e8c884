import type { EventType } from '../schemas/index.ts'

/** One event of the journal, with the bytes that all its readers share. */
export class Entry {
  readonly seq: number
  readonly type: EventType
  readonly containerId: string
  readonly labels: Record<string, string>
  /** the event as JSON, on one line */
  readonly json: string
  readonly #epoch: string
  #sse: Buffer | undefined
  #ndjson: Buffer | undefined

  constructor (epoch: string, seq: number, type: EventType, containerId: string, labels: Record<string, string>, body: string) {
    this.#epoch = epoch
    this.seq = seq
    this.type = type
    this.containerId = containerId
    this.labels = labels
    this.json = `{"id":"${epoch}:${seq}",${body}`
  }

  get id (): string {
    return `${this.#epoch}:${this.seq}`
  }

  /** JSON.stringify leaves no line break in its output, so one data line holds it whatever the strings in it are. */
  get sse (): Buffer {
    this.#sse ??= Buffer.from(`id: ${this.id}\nevent: ${this.type}\ndata: ${this.json}\n\n`)
    return this.#sse
  }

  get ndjson (): Buffer {
    this.#ndjson ??= Buffer.from(`${this.json}\n`)
    return this.#ndjson
  }
}
