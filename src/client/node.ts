import http from 'node:http'
import { Readable } from 'node:stream'
import type { Fetch } from './client.ts'

/** Bodies that fetch's Response may not have. */
const withoutBody = new Set([101, 204, 205, 304])

/** A fetch over a unix socket, which the one of Node.js cannot do. The URL's host is only a header there. */
export function unixFetch (socketPath: string, agent: http.Agent = new http.Agent({ keepAlive: true })): Fetch {
  return async (url, { method = 'GET', headers, body, signal }) => await new Promise<Response>((resolve, reject) => {
    const { pathname, search } = new URL(url, 'http://localhost')
    // Aborted by hand: the request's own `signal` would be an error of the socket while its body is still read.
    const request = http.request({ socketPath, agent, method, path: pathname + search, headers: headers as Record<string, string> })
    const abort = (): void => { request.destroy(signal?.reason instanceof Error ? signal.reason : new Error('aborted')) }
    if (signal?.aborted === true) abort()
    signal?.addEventListener('abort', abort, { once: true })
    request.once('close', () => signal?.removeEventListener('abort', abort))
    // Every one: an error after the answer has come is told by its body.
    request.on('error', reject)
    request.once('response', (message) => {
      const { statusCode = 500, statusMessage = '', rawHeaders } = message
      const given = new Headers()
      for (let at = 0; at < rawHeaders.length; at += 2) given.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
      if (withoutBody.has(statusCode)) message.resume()
      // A byte stream takes no more from the socket than is asked for: back-pressure goes through to the daemon.
      const stream = withoutBody.has(statusCode) ? null : Readable.toWeb(message, { strategy: { highWaterMark: 0 } }) as ReadableStream<Uint8Array>
      resolve(new Response(stream, { status: statusCode, statusText: statusMessage, headers: given }))
    })
    request.end(typeof body === 'string' ? body : undefined)
  })
}
