import type { Filterable } from './filter.ts'
import { eventFrame } from './sse.ts'

/** The forms of a stream. */
export type Form = 'sse' | 'ndjson'

/** Why a process ended, of an event that tells an exit; `json` is the event, or its end from a field on. */
export function reasonOf (json: string): string | undefined {
  // Most events tell none: those are not parsed.
  if (!json.includes('"exit":{')) return undefined
  return (JSON.parse(json.startsWith('{') ? json : `{${json}`) as { exit?: { reason: string } }).exit?.reason
}

/** One event of the journal, with the bytes that all its readers share. */
export class Entry implements Filterable {
  readonly seq: number
  /** `<epoch>:<sequence>` */
  readonly id: string
  readonly type: string
  readonly containerId: string
  /** the event as JSON, on one line */
  readonly json: string
  /** when it was appended (milliseconds of the monotonic clock) */
  readonly publishedAt: number
  readonly #labelsJson: string
  #labels: Record<string, string> | undefined
  readonly #bytes: { sse: Buffer | undefined, ndjson: Buffer | undefined } = { sse: undefined, ndjson: undefined }

  /** `labels` and `body` are JSON; `body` is the event without its id, from behind the brace. */
  constructor (epoch: string, seq: number, type: string, containerId: string, labels: string, body: string, publishedAt = performance.now()) {
    this.seq = seq
    this.id = `${epoch}:${seq}`
    this.type = type
    this.containerId = containerId
    this.json = `{"id":"${this.id}",${body}`
    this.publishedAt = publishedAt
    this.#labelsJson = labels
  }

  /** Parsed at the first look: most readers never ask. */
  get labels (): Record<string, string> {
    this.#labels ??= JSON.parse(this.#labelsJson) as Record<string, string>
    return this.#labels
  }

  /** Of the exit that it tells. */
  get reason (): string | undefined {
    return reasonOf(this.json)
  }

  text (form: Form): string {
    return form === 'sse' ? eventFrame(this.id, this.type, this.json) : `${this.json}\n`
  }

  /** Made once for all readers of a form. */
  bytes (form: Form): Buffer {
    return (this.#bytes[form] ??= Buffer.from(this.text(form)))
  }
}
