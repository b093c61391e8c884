import { Fanout } from '../native/fanout.ts'
import type { Sink, SinkOwner } from './sink.ts'

/** milliseconds that the other end has to close after it was told the end */
const closeGrace = 2000

/** Readers whose sockets were taken over from the HTTP server: no stream, no parser and no request is kept for them. */
export class Sockets {
  readonly #sinks = new Map<number, SocketSink>()
  readonly #fanout: Fanout

  constructor () {
    this.#fanout = new Fanout((token, what) => {
      const sink = this.#sinks.get(token)
      if (what === 'room') sink?.room()
      else sink?.destroy()
    })
  }

  get size (): number {
    return this.#fanout.size
  }

  /** The socket with this descriptor, which its owner then closes; throws a system error. */
  adopt (fd: number): SocketSink {
    const token = this.#fanout.adopt(fd)
    const sink = new SocketSink(this, token)
    this.#sinks.set(token, sink)
    return sink
  }

  /** The same bytes to all of them (up to the batch size of the addon), none of which is full. */
  write (sinks: SocketSink[], bytes: Buffer): void {
    this.#fanout.write(sinks, bytes, (index, result) => {
      const sink = sinks[index]
      if (result < 0) sink?.destroy()
      else sink?.keep(bytes.subarray(result))
    })
  }

  shutdown (token: number): void {
    this.#fanout.shutdown(token)
  }

  forget (token: number): void {
    this.#sinks.delete(token)
    this.#fanout.drop(token)
  }
}

/** The socket of one reader. */
export class SocketSink implements Sink {
  readonly token: number
  readonly sockets: Sockets
  closed = false
  #owner: SinkOwner | undefined
  /** what was written and not taken: a part of one write, as a rule shared with other readers */
  #rest: Buffer | undefined
  #ending = false

  constructor (sockets: Sockets, token: number) {
    this.sockets = sockets
    this.token = token
  }

  get full (): boolean {
    return this.#rest !== undefined
  }

  own (owner: SinkOwner): void {
    this.#owner = owner
  }

  write (bytes: Buffer | string): void {
    if (this.closed || this.#ending) return
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    // Rare and small: what is said to a reader that is slow already.
    if (this.#rest !== undefined) this.#rest = Buffer.concat([this.#rest, buffer])
    else this.sockets.write([this], buffer)
  }

  end (bytes?: string): void {
    if (bytes !== undefined) this.write(bytes)
    if (this.#ending || this.closed) return
    this.#ending = true
    if (this.#rest === undefined) this.#finish()
  }

  destroy (): void {
    if (this.closed) return
    this.closed = true
    this.#rest = undefined
    this.sockets.forget(this.token)
    this.#owner?.gone()
  }

  /** The kernel did not take these. */
  keep (rest: Buffer): void {
    this.#rest = rest
  }

  /** It takes more again. */
  room (): void {
    const rest = this.#rest
    if (rest === undefined || this.closed) return
    this.#rest = undefined
    this.sockets.write([this], rest)
    if (this.full || this.closed) return
    if (this.#ending) this.#finish()
    else this.#owner?.drained()
  }

  /** The end is sent behind the last byte; closing at once could take bytes back that the other end has not read (RFC 9293, 3.6.1). */
  #finish (): void {
    this.sockets.shutdown(this.token)
    setTimeout(() => this.destroy(), closeGrace).unref()
  }
}
