import type { WebSocket } from 'ws'

/** bytes that may wait for the process before no more is received from the client, and that must be left before it is again */
const highWater = 64 * 1024
const lowWater = 16 * 1024

/**
 * What a client sent for the process, in order. While the process does not take it, nothing more is read from the client's
 * socket, so that the client feels it as it would feel a pipe.
 */
export class AttachInput {
  #waiting = 0
  #last: Promise<void> = Promise.resolve()
  #paused = false
  readonly #socket: WebSocket
  readonly #write: (bytes: Buffer) => Promise<void>
  readonly #failed: (error: unknown) => void

  constructor (socket: WebSocket, write: (bytes: Buffer) => Promise<void>, failed: (error: unknown) => void) {
    this.#socket = socket
    this.#write = write
    this.#failed = failed
  }

  get paused (): boolean {
    return this.#paused
  }

  push (bytes: Buffer): void {
    this.#waiting += bytes.length
    if (this.#waiting > highWater && !this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
    this.after(async () => {
      try {
        await this.#write(bytes)
      } finally {
        this.#waiting -= bytes.length
        if (this.#paused && this.#waiting <= lowWater) {
          this.#paused = false
          this.#socket.resume()
        }
      }
    })
  }

  /** Does this when all that was pushed so far has been taken. */
  after (work: () => Promise<void> | void): void {
    this.#last = this.#last.then(work).catch(this.#failed)
  }
}
