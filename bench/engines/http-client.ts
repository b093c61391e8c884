import { once } from 'node:events'
import http from 'node:http'

export type Answer = { status: number, body: string }

/** milliseconds after which a call is given up: no engine may hold up the others for ever */
const deadline = 120_000

/** HTTP over a unix socket with kept-alive connections. */
export class HttpClient {
  readonly #socketPath: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 64 })

  constructor (socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Throws when the answer is not 2xx. */
  async call (method: string, path: string, body?: unknown): Promise<Answer> {
    const raw = body instanceof Buffer
    const payload = body === undefined || raw ? body : JSON.stringify(body)
    return await new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: this.#socketPath,
        agent: this.#agent,
        timeout: deadline,
        method,
        path,
        headers: payload === undefined ? {} : { 'content-type': raw ? 'application/x-tar' : 'application/json', 'content-length': Buffer.byteLength(payload as string | Buffer) }
      }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => { text += chunk })
        response.on('error', reject)
        response.on('end', () => {
          const status = response.statusCode ?? 0
          if (status >= 200 && status < 300) resolve({ status, body: text })
          else reject(new Error(`${method} ${path}: ${status} ${text.slice(0, 300)}`))
        })
      })
      request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer within ${deadline / 1000} s`)))
      request.on('error', reject)
      request.end(payload)
    })
  }

  async get<T> (path: string): Promise<T> {
    return JSON.parse((await this.call('GET', path)).body) as T
  }

  /** A response that goes on, cut at `separator`; returns the way to end it, once it has begun. */
  async stream (path: string, separator: string, onPart: (part: string) => void, accept = 'application/json'): Promise<() => void> {
    const request = http.get({ socketPath: this.#socketPath, path, agent: false, headers: { accept } })
    const begun = once(request, 'response')
    request.on('error', () => {}) // its end is not an event of interest
    const [response] = await begun as [http.IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`GET ${path}: ${response.statusCode}`)
    let rest = ''
    response.setEncoding('utf8')
    response.on('error', () => {}) // the daemon was killed
    response.on('data', (chunk: string) => {
      rest += chunk
      for (let end = rest.indexOf(separator); end !== -1; end = rest.indexOf(separator)) {
        const part = rest.slice(0, end)
        rest = rest.slice(end + separator.length)
        if (part.trim() !== '') onPart(part)
      }
    })
    return () => request.destroy()
  }

  close (): void {
    this.#agent.destroy()
  }
}
