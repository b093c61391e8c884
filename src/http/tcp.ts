import { readFile } from 'node:fs/promises'
import http from 'node:http'
import http2 from 'node:http2'
import type net from 'node:net'
import tls from 'node:tls'
import { connectionsOf } from './connections.ts'

/** seconds that a kept connection may be idle; longer than the minute after which common proxies let go */
const keepAliveSeconds = 72
/** milliseconds for a TLS handshake */
const handshakeMs = 10_000
/** milliseconds of silence after which TCP asks whether the other end is still there */
const probeMs = 15_000
/** requests at once on one HTTP/2 connection; browsers take about as many as they get */
const maxConcurrentStreams = 200

export type TlsFiles = { cert: string, key: string }
export type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void

export type TcpServer = {
  server: net.Server
  /** reads the certificate anew; rejects, and leaves the old one in use, when the new one is none or does not fit its key */
  reload: () => Promise<void>
  /** ends the connections that are left */
  closeAll: () => void
}

/** A certificate with its key, as both are now; throws when they do not go together. */
async function credentials ({ cert, key }: TlsFiles): Promise<tls.SecureContextOptions> {
  const options = { cert: await readFile(cert), key: await readFile(key), minVersion: 'TLSv1.2' } as const
  tls.createSecureContext(options)
  return options
}

/**
 * The server of TCP clients: HTTP/1.1, or with a certificate HTTPS, where ALPN (RFC 7301) chooses between HTTP/2 and HTTP/1.1. Streams and
 * long polls last as long as they last, so no request has a limit in time; its headers have.
 */
export async function tcpServer (files: TlsFiles | undefined, options: http.ServerOptions, handler: Handler): Promise<TcpServer> {
  const limits = { ...options, requestTimeout: 0, keepAliveTimeout: keepAliveSeconds * 1000 }
  const server = files === undefined
    ? http.createServer(limits, handler)
    : Object.assign(http2.createSecureServer({
      ...await credentials(files),
      allowHTTP1: true,
      handshakeTimeout: handshakeMs,
      settings: { maxConcurrentStreams }
      // The compatibility API: Fastify is written for both.
    }, handler as unknown as (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void), limits)
  // A client that is gone without a word must not be kept for ever.
  const connections = connectionsOf(server, (socket) => { socket.setKeepAlive(true, probeMs) })
  return {
    server,
    reload: async () => {
      if (files !== undefined) (server as unknown as tls.Server).setSecureContext(await credentials(files))
    },
    closeAll: connections.destroy
  }
}
