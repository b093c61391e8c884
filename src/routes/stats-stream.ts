import type { OutgoingHttpHeader, ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import type { Container } from '../runtime/container.ts'
import { samplesAtOnce, type Sampler } from '../runtime/sampler.ts'

export type Form = 'sse' | 'ndjson'
export const mediaTypes = { json: 'application/json', sse: 'text/event-stream', ndjson: 'application/x-ndjson' } as const
/** streams of statistics at once */
export const streamsAtMost = 1000

/** bytes that a reader may leave unread before samples are left out for it: the next one is as good */
const unreadAtMost = 256 * 1024
const heartbeatMs = 15_000
/** the part of its interval for which a sample may be shared: less than what lies between two rounds, so none is told twice */
const sharedFor = 0.4

type Options = {
  sampler: Sampler
  form: Form
  intervalMs: number
  /** the containers of the next round */
  pick: () => Container[]
  /** why the stream ends now, undefined when it does not */
  until: () => string | undefined
  sink: ServerResponse
  log: { error: (details: object, message: string) => void }
  preface: string
}

/** One reader of samples. All readers of one interval are served at the same moments, so that they share their samples. */
export class StatsStream {
  readonly #options: Options
  #timer: NodeJS.Timeout | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #ended = false

  constructor (options: Options) {
    this.#options = options
  }

  /** Headers go out at once, and then the first round. */
  open (headers: Record<string, OutgoingHttpHeader | undefined>): void {
    const { sink, form, preface, intervalMs } = this.#options
    sink.socket?.setTimeout(0)
    sink.socket?.setKeepAlive(true, heartbeatMs)
    for (const [name, value] of Object.entries(headers)) if (value !== undefined) sink.setHeader(name, value)
    sink.writeHead(200, { 'content-type': mediaTypes[form], 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
    sink.flushHeaders()
    if (preface !== '') sink.write(preface)
    sink.once('close', () => this.#stop())
    if (form === 'sse' && intervalMs > heartbeatMs) this.#heartbeat = setInterval(() => sink.write(': \n\n'), heartbeatMs)
    this.#next(0)
  }

  end (reason: string): void {
    if (this.#ended) return
    this.#stop()
    const { sink, form } = this.#options
    sink.end(form === 'sse' ? `event: Bye\ndata: ${JSON.stringify({ reason })}\n\n` : undefined)
  }

  #stop (): void {
    this.#ended = true
    clearTimeout(this.#timer)
    clearInterval(this.#heartbeat)
  }

  #next (waitMs: number): void {
    this.#timer = setTimeout(() => {
      this.#round().then(() => {
        const { intervalMs } = this.#options
        const wait = intervalMs - Date.now() % intervalMs
        // After the first round, or a late one, the next moment may be too near for another sample.
        if (!this.#ended) this.#next(wait < intervalMs / 2 ? wait + intervalMs : wait)
      }, (error: unknown) => {
        this.#options.log.error({ err: error }, 'statistics could not be read')
        this.end('failed')
      })
    }, waitMs)
  }

  async #round (): Promise<void> {
    const { sampler, sink, form, intervalMs, pick, until } = this.#options
    const containers = pick()
    for (let from = 0; from < containers.length; from += samplesAtOnce) {
      const samples = await sampler.sample(containers.slice(from, from + samplesAtOnce), intervalMs * sharedFor)
      if (this.#ended) return
      if (sink.writableLength > unreadAtMost) continue
      let text = ''
      for (const sample of samples) if (sample !== undefined) text += form === 'sse' ? `event: Stats\ndata: ${sample.json}\n\n` : `${sample.json}\n`
      if (text !== '') sink.write(text)
      await turn()
    }
    const reason = until()
    if (reason !== undefined) this.end(reason)
  }
}
