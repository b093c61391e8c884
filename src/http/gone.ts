import type { FastifyReply } from 'fastify'
import { carrierOf } from './auth.ts'

/** True when nobody is there any more to be answered. */
export function isGone (reply: FastifyReply): boolean {
  return carrierOf(reply).destroyed
}

/**
 * Calls `leave` when whoever asked has gone; at once when that was before, while a token was looked up or a process started,
 * since a `close` is told once. Gives back how to listen no more. It is the response's `close`: a stream of HTTP/2 can end and
 * its connection go on.
 */
export function whenGone (reply: FastifyReply, leave: () => void): () => void {
  const { raw } = reply
  raw.once('close', leave)
  if (isGone(reply)) leave()
  return () => { raw.removeListener('close', leave) }
}
