import { addon } from './index.ts'

/** readers that one call into the addon serves: about a millisecond of system calls */
export const batchSize = 128

/**
 * Sockets that are only written to, in an epoll set of their own (epoll(7)): the same bytes go to many in one call into
 * the addon. They belong to the addon, and cost no object of the event loop each.
 */
export class Fanout {
  readonly #native: InstanceType<typeof addon.Fanout>
  readonly #tokens = new Uint32Array(batchSize)
  readonly #results = new Int32Array(batchSize)

  /** `notice`: `room`, one that took less than all takes more again; `gone`, its other end has closed or broken off. */
  constructor (notice: (token: number, what: 'room' | 'gone') => void) {
    this.#native = new addon.Fanout((notices) => {
      for (let at = 0; at < notices.length; at += 2) notice(notices[at] ?? 0, notices[at + 1] === 1 ? 'room' : 'gone')
    })
  }

  /** how many sockets it has */
  get size (): number {
    return this.#native.size
  }

  /** Duplicates the descriptor of a connected, non-blocking socket and watches it; the caller closes its own. Throws a system error. */
  adopt (fd: number): number {
    return this.#native.adopt(fd)
  }

  /**
   * send(2) to each of up to batchSize sockets, which never waits. `taken(index, bytes)` is called for those that did not
   * take all of it: how much they took, or an errno below zero when the connection has failed.
   */
  write (sockets: readonly { readonly token: number }[], bytes: Uint8Array, taken: (index: number, result: number) => void): void {
    const count = sockets.length
    for (let index = 0; index < count; index++) this.#tokens[index] = sockets[index]?.token ?? 0
    this.#native.write(this.#tokens, count, bytes, this.#results)
    for (let index = 0; index < count; index++) {
      const result = this.#results[index] ?? 0
      if (result !== bytes.length) taken(index, result)
    }
  }

  /** shutdown(2) of the writing side: what was sent arrives, and then the end. */
  shutdown (token: number): void {
    this.#native.shutdown(token)
  }

  /** Closes it; harmless when done twice. */
  drop (token: number): void {
    this.#native.drop(token)
  }
}
