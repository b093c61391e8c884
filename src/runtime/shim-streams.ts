import { randomInt } from 'node:crypto'
import { encodePacket, encodeWindow, packetType, payloadLimit, shimFlag, type ShimPacket } from './shim-protocol.ts'

/** Where a log ends now; `ended`: nothing comes after what its files hold. */
export type LogEnd = { end: number, ended: boolean }

type Waiter = { offset: number, resolve: (end: LogEnd) => void }
type Piece = { tag: number, bytes: Uint8Array, resolve: () => void, reject: (error: Error) => void }

type Slot = {
  waiters: Set<Waiter>
  /** the offset that the shim was asked about, while it has not answered */
  asked: number | undefined
  end: number
  /** the piece of input that is on its way */
  piece: Piece | undefined
  /** everything that was asked of the input so far has been done */
  input: Promise<void>
  closed: boolean
  window: { width: number, height: number } | undefined
}

const EBUSY = 16

function broken (): Error {
  return Object.assign(new Error('the process takes no input any more'), { code: 'EPIPE' })
}

/**
 * The logs, inputs and terminals of a shim's slots. All readers of a log share one question to the shim, and of each
 * input one piece is on its way: what a process does not read holds up whoever sends it, and nobody else.
 */
export class ShimStreams {
  readonly #send: (packet: Uint8Array) => void
  readonly #slots = new Map<number, Slot>()
  // An earlier daemon's number must not be met again: the shim tells pieces apart by it.
  #tag = randomInt(1, 2 ** 31)
  #over = false

  constructor (send: (packet: Uint8Array) => void) {
    this.#send = send
  }

  /**
   * Resolves once the slot's log has bytes beyond `offset`, or has ended for good; at once when that is so already.
   * With the signal it is given up: rejects with its reason.
   */
  async follow (slot: number, offset: number, signal?: AbortSignal): Promise<LogEnd> {
    signal?.throwIfAborted()
    if (this.#over) return { end: offset, ended: true }
    const state = this.#slot(slot)
    return await new Promise((resolve, reject) => {
      const leave = (): void => {
        state.waiters.delete(waiter)
        reject(signal?.reason as Error)
      }
      const waiter = {
        offset,
        resolve: (end: LogEnd) => {
          signal?.removeEventListener('abort', leave)
          resolve(end)
        }
      }
      state.waiters.add(waiter)
      signal?.addEventListener('abort', leave, { once: true })
      this.#ask(slot, state)
    })
  }

  /** Resolves once all bytes are written to the process's standard input or terminal; rejects with code EPIPE when that is closed or gone. */
  async input (slot: number, bytes: Uint8Array): Promise<void> {
    await this.#inTurn(slot, async (state) => {
      for (let at = 0; at < bytes.byteLength; at += payloadLimit) {
        if (state.closed || this.#over) throw broken()
        await new Promise<void>((resolve, reject) => {
          state.piece = { tag: this.#nextTag(), bytes: bytes.subarray(at, at + payloadLimit), resolve, reject }
          this.#sendPiece(slot, state.piece)
        })
      }
    })
  }

  /** Ends the input, after all that was given to it before. A terminal gets its end-of-file character instead. */
  async closeInput (slot: number): Promise<void> {
    await this.#inTurn(slot, (state) => {
      if (state.closed) return
      state.closed = true
      this.#send(encodePacket(packetType.closeInput, { slot }))
    })
  }

  /** The size of the slot's terminal, in columns and rows. */
  resize (slot: number, width: number, height: number): void {
    this.#slot(slot).window = { width, height }
    this.#send(encodePacket(packetType.resize, { slot, payload: encodeWindow(width, height) }))
  }

  /** True for a packet that was for this class. */
  receive (packet: ShimPacket): boolean {
    const state = this.#slots.get(packet.slot)
    if (packet.type === packetType.notice) this.#noticed(packet, state)
    else if (packet.type === packetType.inputResult) this.#written(packet, state)
    else return false
    return true
  }

  /** Another connection: what has no answer yet is asked again. The shim knows a piece by its tag, and never writes one twice. */
  renewed (): void {
    for (const [slot, state] of this.#slots) {
      state.asked = undefined
      this.#ask(slot, state)
      if (state.piece !== undefined) this.#sendPiece(slot, state.piece)
      if (state.closed) this.#send(encodePacket(packetType.closeInput, { slot }))
      if (state.window !== undefined) this.resize(slot, state.window.width, state.window.height)
    }
  }

  /** The slot's process and its output have ended; another may take the slot. */
  freed (slot: number): void {
    const state = this.#slots.get(slot)
    if (state === undefined) return
    this.#slots.delete(slot)
    this.#end(state)
  }

  /** The shim is gone: what it kept is in the files. */
  over (): void {
    this.#over = true
    for (const state of this.#slots.values()) this.#end(state)
    this.#slots.clear()
  }

  #end (state: Slot): void {
    state.closed = true
    for (const { offset, resolve } of state.waiters) resolve({ end: Math.max(state.end, offset), ended: true })
    state.waiters.clear()
    state.piece?.reject(broken())
    state.piece = undefined
  }

  #slot (slot: number): Slot {
    const known = this.#slots.get(slot)
    if (known !== undefined) return known
    const made: Slot = { waiters: new Set(), asked: undefined, end: 0, piece: undefined, input: Promise.resolve(), closed: false, window: undefined }
    this.#slots.set(slot, made)
    return made
  }

  #nextTag (): number {
    this.#tag = this.#tag % (2 ** 32 - 1) + 1
    return this.#tag
  }

  #inTurn (slot: number, work: (state: Slot) => void | Promise<void>): Promise<void> {
    if (this.#over) return Promise.reject(broken())
    const state = this.#slot(slot)
    const done = state.input.then(async () => { await work(state) })
    state.input = done.catch(() => {})
    return done
  }

  #ask (slot: number, state: Slot): void {
    let least = Infinity
    for (const { offset } of state.waiters) least = Math.min(least, offset)
    if (least === Infinity || (state.asked !== undefined && state.asked <= least)) return
    state.asked = least
    this.#send(encodePacket(packetType.follow, { slot, tag: this.#nextTag(), count: least }))
  }

  #sendPiece (slot: number, { tag, bytes }: Piece): void {
    this.#send(encodePacket(packetType.input, { slot, tag, payload: bytes }))
  }

  #noticed ({ slot, count, flags, error }: ShimPacket, state: Slot | undefined): void {
    if (state === undefined) return
    // A slot that the shim does not know: freed, since whoever asks had its process.
    const ended = (flags & shimFlag.ended) !== 0 || error !== 0
    state.end = Math.max(state.end, count)
    state.asked = undefined
    for (const waiter of state.waiters) {
      if (!ended && waiter.offset >= state.end) continue
      state.waiters.delete(waiter)
      waiter.resolve({ end: Math.max(state.end, ended ? waiter.offset : 0), ended })
    }
    this.#ask(slot, state)
  }

  #written ({ slot, tag, error }: ShimPacket, state: Slot | undefined): void {
    const piece = state?.piece
    if (state === undefined || piece === undefined) return
    if (piece.tag !== tag) {
      // That of an earlier daemon is done: now there is room for this one's.
      this.#sendPiece(slot, piece)
      return
    }
    if (error === EBUSY) return
    state.piece = undefined
    if (error === 0) piece.resolve()
    else piece.reject(broken())
  }
}
