import { ProblemError } from './problem.ts'
import { SseParser, type Message } from './sse.ts'

export type StreamOptions = {
  /** ends the stream: the iteration throws the signal's reason */
  signal?: AbortSignal | undefined
  /** where to go on: strictly after this event */
  lastEventId?: string | undefined
  /** false: the iteration ends, or throws, with the first connection */
  reconnect?: boolean | undefined
  /** milliseconds to wait before connecting again: at first (by default what the server says, else 1,000), and at most (30,000) */
  backoff?: { initial?: number, max?: number } | undefined
  /** milliseconds without a byte, heartbeats included, after which a connection is taken for dead; 45,000 */
  silence?: number | undefined
  /** told of each connection that was lost or refused, and in how many milliseconds the next one is tried */
  onDisconnect?: ((error: unknown, wait: number) => void) | undefined
}

/** Opens a connection that goes on after `lastEventId`; throws ProblemError when that is refused. */
export type Connect = (lastEventId: string, signal: AbortSignal) => Promise<Response>

/** Refusals that pass by themselves: the rest would be the same again. */
const passing = new Set([408, 425, 429])

/** Messages of a stream of Server-Sent Events, over as many connections as it takes. */
export class ResumableStream implements AsyncIterable<Message> {
  /** the position of who reads: pass it as `lastEventId` to go on there, in another process too */
  lastEventId: string
  readonly #connect: Connect
  readonly #options: StreamOptions
  #retry: number | undefined
  #failures = 0

  constructor (connect: Connect, options: StreamOptions) {
    this.#connect = connect
    this.#options = options
    this.lastEventId = options.lastEventId ?? ''
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Message, void, void> {
    const { signal, reconnect = true, onDisconnect } = this.#options
    for (;;) {
      signal?.throwIfAborted()
      let lost: unknown = new Error('the stream ended')
      try {
        yield * this.#connection()
        if (!reconnect) return
      } catch (error) {
        signal?.throwIfAborted()
        if (!reconnect || error instanceof NotAStream || (error instanceof ProblemError && error.status < 500 && !passing.has(error.status))) throw error
        lost = error
      }
      const wait = this.#wait(lost)
      onDisconnect?.(lost, wait)
      await sleep(wait, signal)
    }
  }

  /** One connection. It is read as its messages are taken: who is slow slows the server down, and nothing piles up here. */
  async * #connection (): AsyncGenerator<Message, void, void> {
    const { signal, silence = 45_000 } = this.#options
    const controller = new AbortController()
    const abort = (): void => controller.abort(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    const parser = new SseParser(this.lastEventId)
    const decoder = new TextDecoder()
    try {
      const response = await within(silence, controller, async () => await this.#connect(this.lastEventId, controller.signal))
      if (response.body === null || !/^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')) throw new NotAStream('the server did not answer with an event stream')
      const reader = response.body.getReader()
      for (;;) {
        const { done, value } = await within(silence, controller, async () => await reader.read())
        if (done) return
        for (const message of parser.push(decoder.decode(value, { stream: true }))) {
          this.#take(parser)
          yield message
        }
        this.#take(parser)
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      controller.abort()
    }
  }

  #take ({ lastEventId, retry }: SseParser): void {
    this.lastEventId = lastEventId
    this.#retry = retry ?? this.#retry
    this.#failures = 0
  }

  /** Doubles with each try in vain, and is never the same for two clients that were lost together. */
  #wait (error: unknown): number {
    const { initial = this.#retry ?? 1000, max = 30_000 } = this.#options.backoff ?? {}
    const exponential = Math.min(max, initial * 2 ** Math.min(this.#failures++, 20))
    const asked = error instanceof ProblemError && error.retryAfter !== undefined ? error.retryAfter * 1000 : 0
    return Math.max(asked, exponential * (0.5 + Math.random() / 2))
  }
}

/** What connecting again would not put right. */
class NotAStream extends Error {}

/** Runs `work`, and aborts the connection when it takes longer. */
async function within<T> (milliseconds: number, controller: AbortController, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => controller.abort(new Error(`nothing came for ${milliseconds} ms`)), milliseconds)
  try {
    return await work()
  } finally {
    clearTimeout(timer)
  }
}

async function sleep (milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const abort = (): void => { clearTimeout(timer); reject(signal?.reason as Error) }
    const timer = setTimeout(() => { signal?.removeEventListener('abort', abort); resolve() }, milliseconds)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
