import { isIP, type Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { LongshoreError } from '../errors.ts'

export type OriginOptions = {
  /** true for a request that came over TCP */
  remote: (request: FastifyRequest) => boolean
  /** names without a port, in lower case */
  allowedHosts: Set<string>
  allowedOrigins: Set<string>
}

/** What only reads, by RFC 9110. */
const safe = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Refuses what a foreign page makes a browser send: on every method, on streams and WebSockets too.
 *
 * `Host` must be one that is known, since a name that its owner points at this address (DNS rebinding) would make any page "same-origin".
 * `Origin` must be this daemon's own, or on the list. Where the browser adds a credential by itself (a cookie; or the way there, when the
 * unix socket has been forwarded to a port), `Sec-Fetch-Site` must agree as well: a page on another port of the same host is "same-site"
 * for cookies, and what it embeds has no `Origin`.
 */
export function checkOrigin (request: FastifyRequest, { remote, allowedHosts, allowedOrigins }: OriginOptions): void {
  const { origin, authorization, cookie, 'sec-fetch-site': site } = request.headers
  const overTcp = remote(request)
  if (overTcp || origin !== undefined) {
    const host = request.host.toLowerCase()
    const name = host.replace(/:\d+$/, '')
    const known = allowedHosts.has(name) || isOwnAddress(name, request.raw.socket)
    if (overTcp && !known) throw new LongshoreError('forbidden_host', `the host ${name} is not allowed; --allowed-host adds one`)
    if (origin !== undefined) {
      if (allowedOrigins.has(origin) || (known && origin.toLowerCase() === `${request.protocol}://${host}`)) return
      throw new LongshoreError('forbidden_origin', `the origin ${origin} is not allowed; --allowed-origin adds one`)
    }
  }
  if (authorization !== undefined) return
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    throw new LongshoreError('forbidden_origin', 'a page of another origin asked for this, without telling which; --allowed-origin adds one that sends Origin')
  }
  // Browsers send one of the two with every change they make.
  if (site === undefined && cookie !== undefined && !safe.has(request.method)) {
    throw new LongshoreError('forbidden_origin', 'a change by cookie needs Origin or Sec-Fetch-Site; other clients than browsers send `Authorization: Bearer …`')
  }
}

/** An address in `Host` cannot have been rebound: no name was looked up for it. */
function isOwnAddress (name: string, socket: Socket): boolean {
  const address = name.replace(/^\[(.*)\]$/, '$1')
  return isIP(address) !== 0 && address === socket.localAddress?.replace(/^::ffff:(?=\d+\.)/, '')
}
