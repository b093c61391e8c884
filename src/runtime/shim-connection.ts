import { hasCode } from '../errors.ts'
import { decodePacket, type ShimPacket } from './shim-protocol.ts'
import type { Watch } from './watch.ts'

/** milliseconds until what did not fit is tried again */
const retryPause = 10
/** milliseconds between tries to connect */
const reconnectPause = 50

type Handlers = {
  packet: (packet: ShimPacket, pidfd: number | null) => void
  /** the connection is another one than before: what was asked over the earlier one and has no answer is to be asked again */
  renewed: () => void
  /** the connection has ended, and the shim with it */
  over: () => void
}

/** The packets to and from one shim, over one connection after another. Nothing that is sent while a connection stands is lost with it full. */
export class ShimConnection {
  readonly #watch: Watch
  readonly #runDir: string
  readonly #handlers: Handlers
  #token: number | undefined
  #outbox: Uint8Array[] = []
  #retry: NodeJS.Timeout | undefined
  #dead = false
  #connecting = false
  #released = false

  constructor (watch: Watch, runDir: string, token: number, handlers: Handlers) {
    this.#watch = watch
    this.#runDir = runDir
    this.#handlers = handlers
    this.#attach(token)
  }

  get open (): boolean {
    return this.#token !== undefined
  }

  /** Sends now, or as soon as there is room; what is asked of no connection is asked again by whoever asked (`renewed`). */
  send (packet: Uint8Array): void {
    if (this.#token === undefined) return
    this.#outbox.push(packet)
    if (this.#retry === undefined) this.#flush()
  }

  /** The shim's process has ended: when the rest is read, that was all. */
  ended (): void {
    this.#dead = true
    // One that is being connected to may have said something yet.
    if (this.#token === undefined && !this.#connecting) this.#handlers.over()
  }

  /** Lets go of the connection; the shim goes on. */
  release (): void {
    this.#released = true
    this.#close()
  }

  #close (): void {
    this.#watch.drop(this.#token)
    this.#token = undefined
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#outbox = []
  }

  #flush (): void {
    this.#retry = undefined
    for (let packet = this.#outbox[0]; packet !== undefined && this.#token !== undefined; packet = this.#outbox[0]) {
      try {
        this.#watch.monitor.send(this.#token, packet)
      } catch (error) {
        if (['EAGAIN', 'ENOBUFS', 'ENOMEM'].some((code) => hasCode(error, code))) {
          this.#retry = setTimeout(() => this.#flush(), retryPause)
          this.#retry.unref()
          return
        }
        // A broken one is replaced when its end is read.
        if (!hasCode(error, 'EPIPE') && !hasCode(error, 'ECONNRESET') && !hasCode(error, 'ENOTCONN')) throw error
      }
      this.#outbox.shift()
    }
  }

  #attach (token: number): void {
    this.#token = token
    this.#watch.on(token, (event) => {
      if (event.kind === 'packet') {
        const packet = decodePacket(event.packet)
        if (packet === undefined) this.#watch.drop(event.pidfd ?? undefined)
        else this.#handlers.packet(packet, event.pidfd)
      } else if (event.kind === 'hangup') {
        this.#close()
        // The shim closes a connection that it could not write to. A hang-up alone proves nothing: ask again.
        if (this.#dead) this.#handlers.over()
        else this.#reconnect()
      }
    })
  }

  #reconnect (): void {
    this.#connecting = true
    this.#watch.monitor.connectShim(this.#runDir).then((tokens) => {
      this.#connecting = false
      this.#watch.drop(tokens.process)
      if (this.#released) {
        this.#watch.drop(tokens.connection)
        return
      }
      this.#attach(tokens.connection)
      this.#handlers.renewed()
    }, (error: unknown) => {
      this.#connecting = false
      if (this.#dead && !this.#released) this.#handlers.over()
      // Nobody listens: the shim is ending, and its pidfd says so. Whatever else it was, such as a connection that was taken and lost at once, may be better the next time.
      if (this.#dead || this.#released || hasCode(error, 'ECONNREFUSED') || hasCode(error, 'ENOENT')) return
      setTimeout(() => { if (!this.#dead && !this.#released) this.#reconnect() }, reconnectPause).unref()
    })
  }
}
