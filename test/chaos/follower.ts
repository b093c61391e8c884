import type { EventView } from '../../src/schemas/index.ts'
import { EventReader, type Daemon } from '../support/daemon.ts'

/** A reader of the stream that comes back with its last id, however often it is cut off. */
export class Follower {
  readonly seen: EventView[] = []
  #last = ''
  #reader: EventReader | undefined

  async connect (daemon: Daemon): Promise<void> {
    this.#reader?.close()
    const reader = new EventReader(daemon.socket, '/events?from=earliest', this.#last === '' ? {} : { 'last-event-id': this.#last })
    reader.onEvent = ({ id, event, data }) => {
      if (id === '' || this.#reader !== reader) return
      if (event === 'Gap') throw new Error(`a gap: ${JSON.stringify(data)}`)
      this.#last = id
      this.seen.push(data as EventView)
    }
    this.#reader = reader
    await reader.open().catch((error: unknown) => {
      // Another connection has taken its place meanwhile.
      if (this.#reader === reader) throw error
    })
  }

  /** What it has read is all that it gets of this connection. */
  cut (): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.close()
  }

  get connected (): boolean {
    return this.#reader !== undefined && !this.#reader.ended
  }

  async reach (id: string): Promise<void> {
    if (this.seen.at(-1)?.id === id) return
    await this.#reader?.next((event) => event.id === id)
  }

  close (): void {
    this.#reader?.close()
  }
}

/** Every event, page by page. */
export async function wholeJournal (daemon: Daemon): Promise<EventView[]> {
  const journal: EventView[] = []
  for (let query = 'from=earliest'; ;) {
    const { body } = await daemon.get(`/events?follow=false&limit=1000&${query}`, { accept: 'application/json' })
    journal.push(...body.items)
    if (body.nextCursor === null) return journal
    query = `cursor=${body.nextCursor}`
  }
}
