import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'

/**
 * What Fastify itself has to say goes to this log. Not as its logger, though: then it makes a child of it and listens for the end of
 * the answer with every request, which costs more than a signal does.
 */
export function logTo (app: FastifyInstance, logger: FastifyBaseLogger): void {
  for (const level of ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const) app.log[level] = logger[level].bind(logger)
}

type Say = (details: object, message: string) => void

/** The log of one request: each line names it. */
export function logOf ({ id: reqId, server: { log } }: FastifyRequest): Record<'error' | 'warn' | 'info' | 'debug', Say> {
  return {
    error: (details, message) => log.error({ reqId, ...details }, message),
    warn: (details, message) => log.warn({ reqId, ...details }, message),
    info: (details, message) => log.info({ reqId, ...details }, message),
    debug: (details, message) => log.debug({ reqId, ...details }, message)
  }
}
