import type { Entry, Form } from './entry.ts'
import type { Filter } from './filter.ts'
import type { Reader } from './reader.ts'
import { chunkBytes } from './tail.ts'

/** What is being written to all of a group; those who left it meanwhile are passed over. */
export type Round = {
  readers: (Reader | undefined)[]
  /** index of the next reader to be served */
  next: number
  bytes: Buffer
  /** the readers' position before it and with it */
  from: number
  to: number
  /** the id that the readers know with it */
  told: number
  /** when the oldest of its events was published (milliseconds of the monotonic clock); undefined when it has none */
  since: number | undefined
}

/**
 * The readers of one form and filter who are at the head: for each event the filter is asked once and the bytes are made
 * once. A member has no position of its own; who takes less than it is sent leaves with one.
 */
export class Group {
  readonly filter: Filter
  readonly form: Form
  readonly members: Reader[] = []
  round: Round | undefined
  #pending: Entry[] = []
  #position: number
  /** the last sequence number that all members know by an id */
  #told: number
  readonly #head: () => number

  /** `head`: the newest sequence number that was published. */
  constructor (filter: Filter, form: Form, head: () => number) {
    this.filter = filter
    this.form = form
    this.#head = head
    this.#position = this.#told = head()
  }

  /** What the members have. With nothing to be written that is everything: the rest did not match. */
  get position (): number {
    return this.#idle ? this.#head() : this.#position
  }

  get #idle (): boolean {
    return this.round === undefined && this.#pending.length === 0
  }

  /** when the oldest event that waits was published; undefined when none does */
  get waitsSince (): number | undefined {
    return this.round?.since ?? this.#pending[0]?.publishedAt
  }

  /** True when a reader at this position lacks nothing that the group has been told already. */
  admits (after: number): boolean {
    if (this.#pending.length > 0) return false
    return after >= (this.round?.to ?? this.#head())
  }

  join (reader: Reader): void {
    this.#told = Math.min(this.#told, reader.told)
    reader.group = this
    reader.place = this.members.push(reader) - 1
    reader.behindSince = undefined
  }

  /** `after`, `told`: the position that it goes on from by itself. */
  leave (reader: Reader, after: number, told: number): void {
    const last = this.members.pop()
    if (last !== undefined && last !== reader) {
      this.members[reader.place] = last
      last.place = reader.place
    }
    const { round } = this
    // It may be back before the round comes by, with the round's events.
    const ahead = round?.readers.indexOf(reader, round.next) ?? -1
    if (round !== undefined && ahead !== -1) round.readers[ahead] = undefined
    reader.group = undefined
    reader.place = -1
    reader.after = after
    reader.told = told
  }

  get told (): number {
    return this.filter.open ? this.position : this.#told
  }

  push (entry: Entry): void {
    if (this.#idle) this.#position = entry.seq - 1
    this.#pending.push(entry)
  }

  /** The next round, or undefined when nothing waits. */
  begin (): Round | undefined {
    const [first] = this.#pending
    if (first === undefined) return undefined
    const parts: Buffer[] = []
    let bytes = 0
    let count = 0
    for (const entry of this.#pending) {
      if (bytes >= chunkBytes) break
      const part = entry.bytes(this.form)
      parts.push(part)
      bytes += part.length
      count++
    }
    const told = this.#pending[count - 1]?.seq ?? first.seq
    this.#pending = this.#pending.slice(count)
    const [only] = parts
    this.round = {
      readers: this.members.slice(),
      next: 0,
      bytes: parts.length === 1 && only !== undefined ? only : Buffer.concat(parts),
      from: this.#position,
      to: this.#pending.length === 0 ? this.#head() : told,
      told,
      since: first.publishedAt
    }
    return this.round
  }

  /** A round of something that is no event: a comment, or an id for what did not match. Only when nothing waits. */
  say (bytes: Buffer, told: number): void {
    if (!this.#idle) return
    const position = this.#position = this.#head()
    this.round = { readers: this.members.slice(), next: 0, bytes, from: position, to: position, told, since: undefined }
  }

  finish (round: Round): void {
    this.round = undefined
    this.#position = round.to
    this.#told = round.told
  }
}

/** Groups by what they can get, so that an event does not visit those whose container it is not. */
export class Groups {
  readonly #all = new Map<string, Group>()
  readonly #anywhere = new Set<Group>()
  readonly #byContainer = new Map<string, Set<Group>>()
  readonly #head: () => number

  constructor (head: () => number) {
    this.#head = head
  }

  [Symbol.iterator] (): Iterator<Group> {
    return this.#all.values()
  }

  /** The group for a reader's form and filter; made when there is none. */
  of ({ form, filter }: Reader): Group {
    const key = keyOf(form, filter)
    const known = this.#all.get(key)
    if (known !== undefined) return known
    const group = new Group(filter, form, this.#head)
    this.#all.set(key, group)
    const { containers } = filter.query
    if (containers === undefined) this.#anywhere.add(group)
    for (const id of containers ?? []) {
      const there = this.#byContainer.get(id)
      if (there === undefined) this.#byContainer.set(id, new Set([group]))
      else there.add(group)
    }
    return group
  }

  /** Forgets all of them, and what they were about to write. */
  clear (): void {
    this.#all.clear()
    this.#anywhere.clear()
    this.#byContainer.clear()
  }

  /** Forgets a group that has no members any more. */
  prune (group: Group): void {
    if (group.members.length > 0) return
    const key = keyOf(group.form, group.filter)
    if (this.#all.get(key) === group) this.#all.delete(key)
    this.#anywhere.delete(group)
    for (const id of group.filter.query.containers ?? []) {
      const there = this.#byContainer.get(id)
      there?.delete(group)
      if (there?.size === 0) this.#byContainer.delete(id)
    }
  }

  /** Those whose members get this event. */
  * getting (entry: Entry): Generator<Group> {
    for (const group of this.#anywhere) if (group.filter.matches(entry)) yield group
    for (const group of this.#byContainer.get(entry.containerId) ?? []) if (group.filter.matches(entry)) yield group
  }
}

function keyOf (form: Form, filter: Filter): string {
  return filter.open ? form : `${form}${filter.key}`
}
