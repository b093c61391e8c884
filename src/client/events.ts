import { ResumableStream, type Connect, type StreamOptions } from './stream.ts'
import type { Container, Event, StreamEventsData } from './types.gen.ts'

/** Events between the reader's position and `firstAvailable` are gone; `lost` is null when nobody can know how many. */
export type Gap = { type: 'Gap', requested: string, firstAvailable: string, lost: number | null, reason: string }
/** The server ends the stream, and why; the iteration goes on with the next connection. */
export type Bye = { type: 'Bye', reason: string }
/** The containers as of `position`, in several of these while `more` is true; what follows the last is what came after that position. */
export type Snapshot = { type: 'Snapshot', position: string, containers: Container[], more: boolean }
export type Ping = { type: 'Ping', timestamp: string }
export type StreamItem = Event | Gap | Bye | Snapshot | Ping

type Query = NonNullable<StreamEventsData['query']>
type Filters = Pick<Query, Extract<keyof Query, 'container' | 'type' | 'label' | 'reason'>>

export type EventsOptions = StreamOptions & {
  /** any of the containers, any of the types, all of the labels (`key` or `key=value`) */
  filters?: Filters
  /** `now`, `earliest`, an event id (strictly after it), or an RFC 3339 time; now when absent */
  from?: string
  /** begin with the containers as they are */
  snapshot?: boolean
  /** seconds between Ping items; none when absent */
  ping?: number
}

/**
 * Everything that happens, in order, each event once: over lost connections and restarts of the daemon too. What could not be had is told
 * by a Gap. Nothing is read ahead of who iterates and nothing is ever dropped; iterate from one place only.
 */
export class EventStream implements AsyncIterable<StreamItem> {
  readonly #stream: ResumableStream

  constructor (connect: Connect, options: StreamOptions) {
    this.#stream = new ResumableStream(connect, options)
  }

  /** the position of who reads, also moved by bookmarks: pass it as `lastEventId` to go on there */
  get lastEventId (): string {
    return this.#stream.lastEventId
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<StreamItem, void, void> {
    for await (const { event, data } of this.#stream) yield { type: event, ...JSON.parse(data) } as StreamItem
  }
}

/** The query of /events. */
export function eventsQuery ({ filters, from, snapshot, ping }: EventsOptions): Query {
  return { ...filters, ...(from === undefined ? {} : { from }), ...(snapshot === undefined ? {} : { snapshot }), ...(ping === undefined ? {} : { ping }) }
}
