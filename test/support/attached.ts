import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import WebSocket from 'ws'

export type Refusal = { status: number, body: any } // any: the wire, as a client without types sees it

/** One attached client. It keeps all that came, and goes on after `offset` without losing or repeating a byte. */
export class Attached {
  readonly socket: WebSocket
  readonly messages: any[] = [] // any: as above
  readonly output: Buffer[] = []
  readonly errors: Buffer[] = []
  /** the last of the output, where all of it would be too much to search again and again */
  recent = ''
  /** where to come back to, and the bytes that came after it, which will come again then */
  offset = 0
  beyond = 0
  closed: { code: number, reason: string } | undefined
  #skip: number
  #look: () => void = () => {}

  private constructor (socket: WebSocket, skip: number) {
    this.socket = socket
    this.#skip = skip
    socket.on('message', (data: Buffer, binary: boolean) => {
      if (binary) {
        this.beyond += data.length - 1
        let bytes = data.subarray(1)
        const again = Math.min(this.#skip, bytes.length)
        bytes = bytes.subarray(again)
        this.#skip -= again
        if (bytes.length > 0) (data[0] === 1 ? this.output : this.errors).push(bytes)
        this.recent = (this.recent + bytes.subarray(-4096).toString('latin1')).slice(-4096)
      } else {
        const message = JSON.parse(data.toString())
        this.messages.push(message)
        if (message.offset !== undefined) {
          this.offset = message.offset
          this.beyond = 0
        }
      }
      this.#look()
    })
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
      this.#look()
    })
    // The close says why; without a listener it would be thrown.
    socket.on('error', () => {})
  }

  /** Rejects with a Refusal when the answer is no 101. */
  static async open (socketPath: string, path: string, options: { headers?: Record<string, string>, skip?: number, tcp?: string } = {}): Promise<Attached> {
    const { headers = {}, skip = 0, tcp } = options
    const socket = new WebSocket(tcp === undefined ? `ws+unix://${socketPath}:${path}` : `ws://${tcp}${path}`, { headers })
    const attached = new Attached(socket, skip)
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
      socket.once('unexpected-response', (_request, response: IncomingMessage) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => { text += chunk })
        response.once('close', () => {
          reject({ status: response.statusCode ?? 0, body: JSON.parse(text) } satisfies Refusal) // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors -- an answer, no error
        })
      })
    })
    return attached
  }

  get text (): string {
    return Buffer.concat(this.output).toString()
  }

  send (input: string | Buffer): void {
    this.socket.send(Buffer.from(input))
  }

  control (message: object): void {
    this.socket.send(JSON.stringify(message))
  }

  /** Waits until it is so: looked at after each message and at the close. */
  async until (so: () => boolean, seconds = 60): Promise<void> {
    if (so()) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it did not become so; messages: ${JSON.stringify(this.messages.slice(-5))}, closed: ${JSON.stringify(this.closed)}, output: ${this.text.slice(-500)}`)), seconds * 1000)
      this.#look = () => {
        if (!so()) return
        clearTimeout(timer)
        this.#look = () => {}
        resolve()
      }
    })
  }

  async message (type: string): Promise<any> { // any: as above
    await this.until(() => this.messages.some((message) => message.type === type) || this.closed !== undefined)
    return this.messages.find((message) => message.type === type)
  }

  /** The daemon's close; undefined code when it never comes. */
  async end (): Promise<{ code: number, reason: string } | undefined> {
    await this.until(() => this.closed !== undefined)
    return this.closed
  }

  async close (): Promise<void> {
    if (this.closed !== undefined) return
    const closed = once(this.socket, 'close')
    this.socket.terminate()
    await closed
  }
}
