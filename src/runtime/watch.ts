import { Monitor, type MonitorEvent } from '../native/index.ts'

export type Handler = (event: MonitorEvent) => void

type Log = { error: (details: object, message: string) => void }

/** Hands each event of the monitor's batches to whoever watches that descriptor. */
export class Watch {
  readonly monitor: Monitor
  readonly #handlers = new Map<number, Handler>()

  constructor (log: Log) {
    this.monitor = new Monitor((events) => {
      for (const event of events) {
        // One handler that throws must not take the rest of the batch with it: each of them may be an exit.
        try {
          this.#handlers.get(event.token)?.(event)
        } catch (error) {
          log.error({ err: error, kind: event.kind }, 'a handler of the monitor failed')
        }
      }
    })
  }

  get size (): number {
    return this.monitor.size
  }

  on (token: number, handler: Handler): void {
    this.#handlers.set(token, handler)
  }

  /** Stops watching and closes the descriptor; harmless when done twice. */
  drop (token: number | undefined): void {
    if (token === undefined) return
    this.#handlers.delete(token)
    this.monitor.drop(token)
  }

  /** Resolves with the raw wait status (null: not known) once the process of this token has ended, then drops the token. */
  ended (token: number): Promise<number | null> {
    return new Promise((resolve) => {
      this.on(token, (event) => {
        if (event.kind !== 'exit') return
        this.drop(token)
        resolve(event.status)
      })
    })
  }

  close (): void {
    this.#handlers.clear()
    this.monitor.close()
  }
}
