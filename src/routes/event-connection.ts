import http from 'node:http'
import { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { StreamSink, type Sink } from '../events/sink.ts'
import type { Sockets } from '../events/socket-sink.ts'
import { carryOn } from '../http/auth.ts'

/** seconds of silence after which TCP asks whether the other end is still there */
const keepAlive = 15

/**
 * Answers with an event stream and gives the connection away: what is written from here on goes through the sink. `first`
 * goes along with the headers, which leave at once. A plain connection of HTTP/1 is taken from the server with its
 * socket, so that a reader costs no request, response, parser and stream; any other is written to as a response.
 */
export function openStream (request: FastifyRequest, reply: FastifyReply, sockets: Sockets, first: string): Sink {
  const { raw } = reply
  const { socket } = request.raw
  keep(request)
  reply.header('cache-control', 'no-cache, no-transform')
  reply.header('x-accel-buffering', 'no')
  const fd = descriptorOf(request, reply)
  // May fail for want of descriptors: while there is still a status to say so with.
  const adopted = fd === undefined ? undefined : sockets.adopt(fd)
  reply.hijack()
  reply.sse.keepAlive()
  if (adopted === undefined) {
    reply.header('content-type', 'text/event-stream')
    if (request.raw.httpVersionMajor === 1) {
      // Without chunk framing the end of the connection is the end of the stream, as below.
      raw.useChunkedEncodingByDefault = false
      reply.header('connection', 'close')
    }
    // HTTP/2 has frames of its own and no Connection header (RFC 9113, 8.2.2), which the plugin would set.
    raw.writeHead(200, reply.getHeaders() as http.OutgoingHttpHeaders)
    raw.flushHeaders()
    const sink = new StreamSink(raw)
    sink.write(first)
    return sink
  }
  carryOn(request, { get destroyed () { return adopted.closed }, destroy: () => adopted.destroy() })
  // The duplicate keeps the connection; no more than its own descriptor is closed here.
  socket.destroy()
  adopted.write(head(reply) + first)
  return adopted
}

/** An idle stream is no idle connection. A request that was injected has no socket, and the one of HTTP/2 is not its own to set. */
function keep ({ raw: { socket, httpVersionMajor } }: FastifyRequest): void {
  if (socket instanceof Socket && httpVersionMajor === 1) socket.setTimeout(0).setKeepAlive(true, keepAlive * 1000)
}

/** The descriptor of the connection, where nothing but this response will ever be written to it as it is. */
function descriptorOf (request: FastifyRequest, { raw }: FastifyReply): number | undefined {
  const { socket, httpVersionMajor } = request.raw
  // One response of several on the way (pipelining), or bytes that wait: the socket is still in use.
  if (httpVersionMajor !== 1 || 'encrypted' in socket || raw.socket !== socket || socket.writableLength > 0) return undefined
  // Undocumented, and absent in a request that was injected: then the response does.
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: unknown } }
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined
}

/** The response's head, as Node would write it. */
function head (reply: FastifyReply): string {
  const headers = { ...reply.getHeaders(), 'content-type': 'text/event-stream', date: new Date().toUTCString(), connection: 'close' }
  const lines = Object.entries(headers).flatMap(([name, value]) => [value ?? []].flat().map((one) => {
    http.validateHeaderValue(name, String(one))
    return `${name}: ${one}\r\n`
  }))
  return `HTTP/1.1 200 OK\r\n${lines.join('')}\r\n`
}

/** A stream of JSON lines: with chunk framing, so that one which was cut short is not mistaken for a complete one. */
export function openLines (request: FastifyRequest, reply: FastifyReply): Sink {
  const { raw } = reply
  keep(request)
  reply.header('cache-control', 'no-cache, no-transform')
  reply.header('x-accel-buffering', 'no')
  reply.header('content-type', 'application/x-ndjson')
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
  raw.writeHead(200)
  raw.flushHeaders()
  reply.hijack()
  return new StreamSink(raw)
}
