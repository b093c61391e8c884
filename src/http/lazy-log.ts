import type { FastifyBaseLogger } from 'fastify'

type Child = Parameters<FastifyBaseLogger['child']>
type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/** The log of one request, made when it first has something to say: nearly none has, and a child of pino's costs more than a signal does. */
export class LazyLog {
  readonly #parent: FastifyBaseLogger
  readonly #child: Child
  #made: FastifyBaseLogger | undefined

  constructor (parent: FastifyBaseLogger, ...child: Child) {
    this.#parent = parent
    this.#child = child
  }

  get #log (): FastifyBaseLogger {
    this.#made ??= this.#parent.child(...this.#child)
    return this.#made
  }

  get level (): string {
    return this.#log.level
  }

  child (...child: Child): FastifyBaseLogger {
    return this.#log.child(...child)
  }

  fatal (...said: unknown[]): void { this.#say('fatal', said) }
  error (...said: unknown[]): void { this.#say('error', said) }
  warn (...said: unknown[]): void { this.#say('warn', said) }
  info (...said: unknown[]): void { this.#say('info', said) }
  debug (...said: unknown[]): void { this.#say('debug', said) }
  trace (...said: unknown[]): void { this.#say('trace', said) }
  silent (...said: unknown[]): void { this.#say('silent', said) }

  #say (level: Level, said: unknown[]): void {
    const log = this.#log
    const method = log[level] as (...said: unknown[]) => void
    method.apply(log, said)
  }
}
