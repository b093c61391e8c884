import { EventStream, eventsQuery, type EventsOptions } from './events.ts'
import { operations, type Operations } from './operations.gen.ts'
import { checked } from './problem.ts'
import { ResumableStream, type StreamOptions } from './stream.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export type ClientOptions = {
  /** of the daemon, e.g. `https://host:7443`; in a page the page's own origin when absent */
  baseUrl?: string
  /** sent as `Authorization: Bearer …`; a page that has a session needs none */
  token?: string
  /** how requests are made: the platform's own fetch when absent; `unixFetch` for a unix socket */
  fetch?: Fetch
}

type Name = keyof Operations
type Given = { path?: unknown, query?: unknown, body?: unknown }
type Defined<T> = { [K in keyof T as [T[K]] extends [undefined] ? never : K]: T[K] }

export type CallOptions = { headers?: Record<string, string>, signal?: AbortSignal }
export type Arguments<N extends Name> = Defined<Omit<Operations[N]['data'], 'url' | 'headers'>> & CallOptions
/** The body of a success. A call that asks for `Prefer: respond-async` is made with `raw`. */
export type Result<N extends Name> = Operations[N]['responses'][Exclude<keyof Operations[N]['responses'], 202>]

export type Calls = {
  [N in Name]: object extends Arguments<N> ? (given?: Arguments<N>) => Promise<Result<N>> : (given: Arguments<N>) => Promise<Result<N>>
}

class Base {
  readonly #baseUrl: string
  readonly #token: string | undefined
  readonly #fetch: Fetch

  constructor ({ baseUrl = '', token, fetch = async (url, init) => await globalThis.fetch(url, init) }: ClientOptions = {}) {
    this.#baseUrl = baseUrl.replace(/\/$/, '')
    this.#token = token
    this.#fetch = fetch
    for (const name of Object.keys(operations) as Name[]) Object.defineProperty(this, name, { value: async (given: Given & CallOptions = {}) => await this.#call(name, given) })
  }

  /** An operation's answer as it comes, once it is known to be a success: for streams, headers and other media types. */
  async raw<N extends Name> (name: N, given: Arguments<N>): Promise<Response> {
    return await this.#send(name, given)
  }

  /** Messages of an operation that can answer as Server-Sent Events, resumed by their ids. */
  stream<N extends Name> (name: N, given: Arguments<N>, options: StreamOptions = {}): ResumableStream {
    return new ResumableStream(async (lastEventId, signal) => await this.#open(name, given, lastEventId, signal), options)
  }

  /** The events of all containers, or of those that the filters let through. */
  events (options: EventsOptions = {}): EventStream {
    const given = { query: eventsQuery(options) }
    return new EventStream(async (lastEventId, signal) => await this.#open('streamEvents', given, lastEventId, signal), options)
  }

  async #open (name: Name, given: Given & CallOptions, lastEventId: string, signal: AbortSignal): Promise<Response> {
    const headers = { ...given.headers, accept: 'text/event-stream', ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId }) }
    return await this.#send(name, { ...given, headers, signal }, { cache: 'no-store' })
  }

  async #call (name: Name, given: Given & CallOptions): Promise<unknown> {
    const response = await this.#send(name, { ...given, headers: { accept: 'application/json, */*;q=0.1', ...given.headers } })
    if (response.status === 204) return null
    return /^application\/([\w.-]+\+)?json\b/i.test(response.headers.get('content-type') ?? '') ? await response.json() : await response.text()
  }

  async #send (name: Name, { path, query, body, headers, signal }: Given & CallOptions, init: RequestInit = {}): Promise<Response> {
    const { method, path: template } = operations[name]
    const values = (path ?? {}) as Record<string, string>
    const place = template.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(values[key] ?? ''))
    const parameters = new URLSearchParams()
    for (const [key, value] of Object.entries(query ?? {})) {
      for (const one of Array.isArray(value) ? value as unknown[] : [value]) if (one !== undefined) parameters.append(key, String(one))
    }
    const search = parameters.size === 0 ? '' : `?${parameters.toString()}`
    return await checked(await this.#fetch(this.#baseUrl + place + search, {
      ...init,
      method,
      headers: {
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal })
    }))
  }
}

/** A client of one daemon: a method for each operation of its description, and `events()`. */
export type Client = Base & Calls
export const Client = Base as new (options?: ClientOptions) => Client
