import { setInterval as every } from 'node:timers'
import { LongshoreError } from '../errors.ts'
import type { Entry } from './entry.ts'
import { Groups, type Group } from './group.ts'
import type { Journal } from './journal.ts'
import type { Reader } from './reader.ts'
import { Rounds } from './rounds.ts'
import { bookmark, controlFrame, heartbeat, retry } from './sse.ts'
import { StreamStats } from './stream-stats.ts'
import { Tail } from './tail.ts'

/** milliseconds of one turn of the loop that writing to readers may take */
const defaultTurnBudget = 3
/** readers looked after in one turn where each of them is cheap */
const slice = 200
/** milliseconds that a stream which has been ended has to take what it was sent */
const endGrace = 2000

type Log = { warn: (details: object, message: string) => void }

export type HubOptions = {
  /** between comments that keep a stream alive */
  heartbeatSeconds: number
  /** that a reader may leave a full buffer (64 KiB or so) untouched before it is sent away; 60 when absent */
  stallSeconds?: number
  /** milliseconds of one turn of the loop that writing may take; 3 when absent */
  turnBudget?: number
  log: Log
}

/** Why a stream ends: `slow`, nothing was taken for too long; `journal-lost`, the journal was damaged and a new one began. */
export type Bye = 'shutdown' | 'slow' | 'journal-lost' | 'journal-unreadable' | 'retention'

/**
 * Tells every reader of every event after its position. Readers at the head are in groups, which are written to at once;
 * one that is behind goes its own way, from memory when it is near the head, else in pages from the journal.
 */
export class Hub {
  readonly stats = new StreamStats()
  readonly #journal: Journal
  readonly #options: HubOptions
  readonly #readers = new Set<Reader>()
  readonly #groups: Groups
  /** readers with a position of their own */
  readonly #solos = new Set<Reader>()
  readonly #rounds: Rounds
  readonly #tail = new Tail()
  readonly #heartbeat: NodeJS.Timeout
  readonly #pings = new Map<Reader, NodeJS.Timeout>()
  /** the newest event that was published */
  #head: number
  #pumping = false
  #pumpAgain = false
  #closed = false

  constructor (journal: Journal, options: HubOptions) {
    this.#journal = journal
    this.#options = options
    this.#head = journal.head
    this.#groups = new Groups(() => this.#head)
    this.#rounds = new Rounds({
      groups: this.#groups,
      stats: this.stats,
      turnBudget: options.turnBudget ?? defaultTurnBudget,
      part: (reader, group, after, told) => this.#part(reader, group, after, told),
      done: () => { if (this.#solos.size > 0) this.#pumpSolos() }
    })
    journal.onCommitted = (entries) => this.#publish(entries)
    journal.onRenewed = () => this.#renewed()
    this.#heartbeat = every(() => this.#beat(), options.heartbeatSeconds * 1000)
    this.#heartbeat.unref()
  }

  /** readers that are connected */
  get size (): number {
    return this.#readers.size
  }

  /** How far the furthest reader is behind: events, and seconds since it was at the head. */
  get lag (): { events: number, seconds: number } {
    const now = performance.now()
    let events = 0
    let since = now
    for (const reader of this.#solos) {
      if (reader.closed || reader.after >= Math.min(reader.until, this.#head)) continue
      events = Math.max(events, this.#head - reader.after)
      since = Math.min(since, reader.behindSince ?? now)
    }
    for (const group of this.#rounds) {
      events = Math.max(events, this.#head - group.position)
      since = Math.min(since, group.waitsSince ?? now)
    }
    return { events, seconds: (now - since) / 1000 }
  }

  /** Takes a reader in and writes what there is after its position. */
  add (reader: Reader): void {
    const { sink, ping } = reader
    // It may have gone while its position was looked up: no word of it would come any more.
    if (sink.closed) return
    this.#readers.add(reader)
    reader.onDrained = (one) => this.#pump(one)
    reader.onGone = (one) => this.#gone(one)
    sink.own(reader)
    if (this.#closed) return this.#end(reader, 'shutdown')
    if (ping !== undefined && reader.form === 'sse') {
      const timer = every(() => this.#ping(reader), ping * 1000)
      this.#pings.set(reader, timer.unref())
    }
    if (sink.full) reader.blockedSince = performance.now()
    this.#solo(reader)
    this.#pump(reader)
  }

  /** Ends every stream, a few in each turn of the loop, now and from now on. Resolves when all have been told. */
  async close (reason: Bye): Promise<void> {
    this.#closed = true
    clearInterval(this.#heartbeat)
    await this.#slices(this.#readers, (reader) => this.#end(reader, reason))
  }

  #gone (reader: Reader): void {
    this.#quiet(reader)
    this.#readers.delete(reader)
  }

  /** Nothing more is written to it. It counts until its connection has closed. */
  #quiet (reader: Reader): void {
    const { group } = reader
    reader.closed = true
    if (group !== undefined) {
      group.leave(reader, group.position, group.told)
      this.#groups.prune(group)
    }
    this.#solos.delete(reader)
    clearInterval(this.#pings.get(reader))
    this.#pings.delete(reader)
  }

  /** Without a reason the stream is complete, and its reader may take its time; with one it has a moment to hear it. */
  #end (reader: Reader, reason?: Bye): void {
    const ended = reader.closed
    this.#quiet(reader)
    if (reason !== undefined) setTimeout(() => reader.sink.destroy(), endGrace).unref()
    if (!ended) this.#bye(reader, reason)
  }

  #bye ({ sink, form }: Reader, reason?: Bye): void {
    if (reason !== undefined) this.stats.bye(reason)
    // JSON lines have no word for it: a stream that breaks off is not mistaken for one that has been told to its end.
    if (reason !== undefined && reason !== 'shutdown' && form === 'ndjson') {
      sink.destroy()
      return
    }
    sink.end(reason !== undefined && form === 'sse' ? `${retry(this.size)}${controlFrame('Bye', { reason })}` : undefined)
  }

  #ping (reader: Reader): void {
    if (!reader.ready || reader.preface !== undefined) return
    reader.write(controlFrame('Ping', { timestamp: new Date().toISOString() }))
    if (!reader.ready) this.#fallBehind(reader)
  }

  /** Its connection is full. What the group is about to write is left for later, and what it has written counts. */
  #fallBehind (reader: Reader): void {
    const { group } = reader
    if (group === undefined) return
    const { round } = group
    const served = round === undefined || !round.readers.includes(reader, round.next)
    const mine = round === undefined ? group.position : served ? round.to : round.from
    this.#part(reader, group, mine, round !== undefined && served ? round.told : group.told)
  }

  #part (reader: Reader, group: Group, after: number, told: number): void {
    group.leave(reader, after, told)
    this.#groups.prune(group)
    this.#solo(reader)
    if (reader.sink.full) reader.blockedSince ??= performance.now()
  }

  #solo (reader: Reader): void {
    reader.behindSince ??= performance.now()
    this.#solos.add(reader)
  }

  #publish (entries: Entry[]): void {
    this.#tail.push(entries)
    for (const entry of entries) {
      for (const group of this.#groups.getting(entry)) {
        group.push(entry)
        this.#rounds.add(group)
      }
    }
    this.#head = entries.at(-1)?.seq ?? this.#head
    this.#rounds.run()
    if (this.#solos.size > 0) this.#pumpSolos()
  }

  /** Positions in a journal that was lost are no positions: its readers come back and are told of the gap. */
  #renewed (): void {
    this.#tail.clear()
    this.#rounds.clear()
    this.#groups.clear()
    this.#head = this.#journal.head
    // All of them in this turn: what the new history tells is not for those whose word of it comes in a later one.
    const lost = new Set<Reader>()
    for (const reader of this.#readers) {
      if (reader.closed) continue
      reader.group = undefined
      this.#quiet(reader)
      lost.add(reader)
    }
    void this.#slices(lost, (reader) => {
      if (!this.#readers.has(reader)) return
      setTimeout(() => reader.sink.destroy(), endGrace).unref()
      this.#bye(reader, 'journal-lost')
    })
  }

  async #slices (readers: Set<Reader>, each: (reader: Reader) => void): Promise<void> {
    const round = [...readers]
    for (let at = 0; at < round.length; at += slice) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve))
      for (const reader of round.slice(at, at + slice)) each(reader)
    }
  }

  /** A look at all who go their own way; those who have caught up join the others. */
  #pumpSolos (): void {
    if (this.#pumping) {
      this.#pumpAgain = true
      return
    }
    this.#pumping = true
    this.#pumpAgain = false
    void this.#slices(this.#solos, (reader) => this.#pump(reader)).then(() => {
      this.#pumping = false
      if (this.#pumpAgain) setImmediate(() => this.#pumpSolos())
    })
  }

  /** Writes one chunk of what a reader lacks; the rest comes with the next looks. */
  #pump (reader: Reader): void {
    if (!reader.ready || reader.group !== undefined) return
    if (reader.preface !== undefined) {
      const { value, done } = reader.preface.next() as IteratorResult<string, undefined>
      if (done === true) reader.preface = undefined
      else reader.write(value)
      this.#pumpSolos()
      return
    }
    const end = Math.min(reader.until, this.#head)
    if (reader.after < end) {
      if (!this.#tail.covers(reader.after)) {
        void this.#page(reader, end)
        return
      }
      const { to, bytes } = this.#tail.chunk(reader.after, end, reader.form, reader.filter)
      this.#advance(reader, to, bytes)
    }
    if (reader.after >= reader.until) return this.#end(reader)
    if (!reader.ready) return
    if (reader.after < end) this.#pumpSolos()
    else this.#join(reader)
  }

  #join (reader: Reader): void {
    if (reader.until !== Infinity) return
    const group = this.#groups.of(reader)
    if (group.admits(reader.after)) {
      group.join(reader)
      this.#solos.delete(reader)
    } else {
      // After the group's round it lacks some more, and is looked at again.
      this.#groups.prune(group)
    }
  }

  #advance (reader: Reader, to: number, bytes: Buffer | undefined): void {
    reader.after = to
    if (bytes === undefined || bytes.length === 0) return
    // With a filter the last event written may be older than `to`; the difference is what a bookmark is for.
    if (reader.filter.open) reader.told = to
    reader.write(bytes)
    this.stats.wrote(bytes.length, 1)
  }

  async #page (reader: Reader, end: number): Promise<void> {
    const { form, filter } = reader
    reader.fetching = true
    try {
      const { bytes, reached } = await this.#journal.readBytes({ after: reader.after, until: end, filter: filter.query, form })
      if (reader.closed) return
      reader.fetching = false
      const { first } = this.#journal
      if (reader.after < first - 1) {
        // Retention overtook it while it read. JSON lines have no word for that.
        if (form === 'ndjson') return this.#end(reader, 'retention')
        const requested = this.#journal.positionId(reader.after)
        this.stats.gap('retention')
        reader.write(controlFrame('Gap', { requested, firstAvailable: this.#journal.positionId(first), lost: first - 1 - reader.after, reason: 'retention' }))
      }
      this.#advance(reader, Math.max(reached, first - 1), bytes)
    } catch (error) {
      if (reader.closed) return
      if (error instanceof LongshoreError && error.code === 'events_gone') return this.#end(reader, 'journal-lost')
      this.#options.log.warn({ err: error }, 'a page of the journal could not be read for a reader')
      this.#end(reader, 'journal-unreadable')
      return
    }
    this.#pump(reader)
  }

  /** Comments keep streams alive; a filtered reader is told how far it has come; who takes nothing for too long is sent away. */
  #beat (): void {
    for (const group of this.#groups) {
      if (group.form !== 'sse' || group.waitsSince !== undefined || group.round !== undefined) continue
      const { position } = group
      if (group.told < position) group.say(Buffer.from(bookmark(this.#journal.positionId(position))), position)
      else group.say(heartbeat, group.told)
      this.#rounds.add(group)
    }
    this.#rounds.run()
    const stall = (this.#options.stallSeconds ?? 60) * 1000
    const now = performance.now()
    void this.#slices(this.#solos, (reader) => {
      if (reader.blockedSince !== undefined && now - reader.blockedSince > stall) {
        this.#end(reader, 'slow')
      } else if (reader.ready && reader.group === undefined && reader.form === 'sse') {
        if (reader.after === reader.told || reader.preface !== undefined) return reader.write(heartbeat)
        reader.told = reader.after
        reader.write(bookmark(this.#journal.positionId(reader.after)))
      }
    })
  }
}
