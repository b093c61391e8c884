import { batchSize } from '../native/fanout.ts'
import type { Group, Groups, Round } from './group.ts'
import type { Reader } from './reader.ts'
import { SocketSink } from './socket-sink.ts'
import type { StreamStats } from './stream-stats.ts'

export type RoundsOptions = {
  groups: Groups
  stats: StreamStats
  /** milliseconds of one turn of the loop that writing may take */
  turnBudget: number
  /** a member takes no more for now: it has everything up to `after`, and knows of it up to `told` */
  part: (reader: Reader, group: Group, after: number, told: number) => void
  /** nothing is left to be written */
  done: () => void
}

/** Rounds through the groups that have something to write; what is published meanwhile goes along with the next ones. */
export class Rounds {
  readonly #options: RoundsOptions
  /** groups with something to write */
  readonly #dirty = new Set<Group>()
  #running = false

  constructor (options: RoundsOptions) {
    this.#options = options
  }

  [Symbol.iterator] (): Iterator<Group> {
    return this.#dirty.values()
  }

  add (group: Group): void {
    this.#dirty.add(group)
  }

  clear (): void {
    this.#dirty.clear()
  }

  /** Begins at once, and goes on in later turns of the loop when one is not enough. */
  run (): void {
    if (this.#running) return
    this.#running = true
    this.#step()
  }

  #step (): void {
    const { groups, turnBudget, done } = this.#options
    const deadline = performance.now() + turnBudget
    for (const group of this.#dirty) {
      const round = group.round ?? group.begin()
      if (round !== undefined) {
        if (!this.#serve(group, round, deadline)) {
          setImmediate(() => this.#step())
          return
        }
        group.finish(round)
      }
      this.#dirty.delete(group)
      // Behind the others, so that one that never ends holds up none of them.
      if (group.waitsSince !== undefined) this.#dirty.add(group)
      groups.prune(group)
    }
    this.#running = false
    done()
  }

  /** Goes on with a round until it is through (true) or the turn's time is over. */
  #serve (group: Group, round: Round, deadline: number): boolean {
    const { stats, part } = this.#options
    const { readers, bytes, from, to, told, since } = round
    let count = 0
    while (round.next < readers.length && (count === 0 || performance.now() < deadline)) {
      const sockets: SocketSink[] = []
      const served: Reader[] = []
      for (const end = Math.min(readers.length, round.next + batchSize); round.next < end; round.next++) {
        const reader = readers[round.next]
        if (reader?.group !== group) continue
        const { sink } = reader
        if (sink.full) {
          part(reader, group, from, group.filter.open ? from : Math.min(group.told, from))
          continue
        }
        if (sink instanceof SocketSink) sockets.push(sink)
        else sink.write(bytes)
        served.push(reader)
      }
      sockets[0]?.sockets.write(sockets, bytes)
      for (const reader of served) if (reader.group === group && reader.sink.full) part(reader, group, to, told)
      count += served.length
    }
    stats.wrote(bytes.length, count)
    if (since !== undefined && count > 0) stats.took((performance.now() - since) / 1000, count)
    return round.next >= readers.length
  }
}
