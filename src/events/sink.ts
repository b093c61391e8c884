import type { Writable } from 'node:stream'

/** Who is told what becomes of a sink. */
export type SinkOwner = {
  /** it takes more again */
  drained: () => void
  /** its connection has closed */
  gone: () => void
}

/** The connection of one reader. */
export interface Sink {
  /** something waits in it that was not taken: nothing should be written until its owner is told `drained` */
  readonly full: boolean
  readonly closed: boolean
  own: (owner: SinkOwner) => void
  write: (bytes: Buffer | string) => void
  /** Nothing more is written; what was arrives, then the end. */
  end: (bytes?: string) => void
  /** Breaks off. */
  destroy: () => void
}

/** A sink that is a stream of Node's: an HTTP response, whatever it goes over. */
export class StreamSink implements Sink {
  readonly #stream: Writable

  constructor (stream: Writable) {
    this.#stream = stream
  }

  get full (): boolean {
    return this.#stream.writableNeedDrain
  }

  get closed (): boolean {
    return this.#stream.destroyed
  }

  own (owner: SinkOwner): void {
    this.#stream.on('drain', () => owner.drained())
    this.#stream.on('close', () => owner.gone())
    // A reader that breaks off is no news; `close` follows.
    this.#stream.on('error', () => {})
  }

  write (bytes: Buffer | string): void {
    this.#stream.write(bytes)
  }

  end (bytes?: string): void {
    this.#stream.end(bytes)
  }

  destroy (): void {
    this.#stream.destroy()
  }
}
