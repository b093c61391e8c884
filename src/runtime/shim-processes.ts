import { LongshoreError, hasCode } from '../errors.ts'
import { isHeld } from './blocked.ts'
import type { ExitFacts } from './exit.ts'
import { LastWord, reapLimit } from './last-word.ts'
import { encodePacket, encodeWindow, packetType, shimFlag, shimOp, shimState, slotCount, type ShimPacket } from './shim-protocol.ts'
import type { RuntimeResult } from './shim.ts'
import type { Watch } from './watch.ts'

export type ExecOptions = {
  terminal: boolean
  /** standard input is /dev/null */
  noInput: boolean
  /** columns and rows of the terminal */
  window: { width: number, height: number }
}

/** milliseconds that the shim has to tell of an end that the pidfd has shown */
const shimGrace = 5000

export function exitFacts (packet: ShimPacket): ExitFacts {
  return {
    waitStatus: packet.waitStatus,
    exitedAtNs: packet.timeNs,
    oomKills: (packet.flags & shimFlag.oomKnown) !== 0 ? packet.count : null,
    outputComplete: (packet.flags & shimFlag.outputComplete) !== 0
  }
}

/**
 * A process in a slot of the shim beside init. Two notices, each at most once: `onExit`, and `onLost` when it has ended and
 * the shim did not say how, or is gone itself (the process may then still live).
 */
export class ShimProcess {
  readonly slot: number
  readonly id: string
  pid = 0
  state: number = shimState.creating
  exit: ExitFacts | undefined
  lost = false
  /** the connection, by its number, over which it was asked for; 0: not yet */
  asked = 0
  acknowledged = false
  /** the slot may be another's by now */
  freed = false
  onExit: (facts: ExitFacts) => void = () => {}
  onLost: () => void = () => {}
  /** its pid is known */
  onStarted: () => void = () => {}
  /** the runtime's call that makes it has ended */
  readonly result: Promise<RuntimeResult>
  settle: (result: RuntimeResult) => void = () => {}
  giveUp: (error: Error) => void = () => {}
  readonly #watch: Watch
  #pidfd: number | undefined
  #ended = false
  readonly #lastWord = new LastWord()
  #timer: NodeJS.Timeout | undefined
  #released = false

  constructor (watch: Watch, slot: number, id: string) {
    this.#watch = watch
    this.slot = slot
    this.id = id
    this.result = new Promise((resolve, reject) => { this.settle = resolve; this.giveUp = reject })
    this.result.catch(() => {})
  }

  /** pidfd_send_signal(2); throws with code ESRCH when it has ended. */
  signal (signal: number): void {
    if (this.#pidfd === undefined || this.#ended) throw Object.assign(new Error('the process has ended'), { code: 'ESRCH' })
    this.#watch.monitor.signal(this.#pidfd, signal)
  }

  exited (facts: ExitFacts): void {
    this.state = shimState.exited
    clearTimeout(this.#timer)
    if (this.exit !== undefined || this.lost) return
    this.exit = facts
    this.onExit(facts)
  }

  lose (): void {
    clearTimeout(this.#timer)
    if (this.exit !== undefined || this.lost) return
    this.lost = true
    this.onLost()
  }

  adopt (pidfd: number | null): void {
    if (this.#pidfd !== undefined || this.exit !== undefined) {
      if (pidfd !== null) this.#watch.drop(pidfd)
      return
    }
    let token = pidfd
    try {
      token ??= this.#watch.monitor.openProcess(this.pid)
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error
      // It has ended, and its exit follows; unless it was never the shim's child.
      this.expectExit()
      return
    }
    this.#pidfd = token
    this.#watch.on(token, (event) => {
      if (event.kind !== 'exit') return
      if (this.#lastWord.hear(event)) {
        this.#watch.drop(token)
        this.#pidfd = undefined
      }
      if (this.#ended) return
      this.#ended = true
      this.expectExit()
    })
  }

  release (): void {
    this.#released = true
    clearTimeout(this.#timer)
    this.#watch.drop(this.#pidfd)
    this.#pidfd = undefined
    this.#lastWord.close()
  }

  /** Of one that has ended, or was killed: the status that the kernel tells once it has been reaped, null when it does not. */
  async lastStatus (): Promise<number | null> {
    return this.#pidfd === undefined ? this.#lastWord.status : await this.#lastWord.within(reapLimit, async () => await isHeld(this.pid))
  }

  /** It has ended: the shim is going to say how. */
  expectExit (): void {
    if (this.exit !== undefined || this.lost) return
    this.#timer = setTimeout(() => {
      // The shim cannot reap what a tracer holds, and is told when that lets go.
      void isHeld(this.pid).catch(() => false).then((held) => {
        if (this.#released) return
        if (held) this.expectExit()
        else this.lose()
      })
    }, shimGrace)
    this.#timer.unref()
  }
}

/** The slots of a shim above 0. */
export class ShimProcesses {
  readonly #watch: Watch
  readonly #send: (packet: Uint8Array) => void
  readonly #freed: (slot: number) => void
  readonly #slots = new Map<number, ShimProcess>()
  /** slots that the shim has named since the connection was taken; undefined after its hello */
  #named: Set<number> | undefined = new Set()
  #tag = 0
  #connection = 1

  constructor (watch: Watch, send: (packet: Uint8Array) => void, freed: (slot: number) => void) {
    this.#watch = watch
    this.#send = send
    this.#freed = freed
  }

  find (id: string): ShimProcess | undefined {
    for (const process of this.#slots.values()) if (process.id === id) return process
    return undefined
  }

  all (): ShimProcess[] {
    return [...this.#slots.values()]
  }

  /** Takes the lowest free slot; throws overloaded when there is none. */
  take (id: string): ShimProcess {
    for (let slot = 1; slot < slotCount; slot++) {
      if (this.#slots.has(slot)) continue
      const process = new ShimProcess(this.#watch, slot, id)
      this.#slots.set(slot, process)
      return process
    }
    throw new LongshoreError('overloaded', `${slotCount - 1} processes beside init, or their output, are there already, which is the limit`, { extra: { retryAfter: 1 } })
  }

  /** Gives a slot back that was taken and never used. */
  leave (process: ShimProcess): void {
    if (this.#slots.get(process.slot) === process) this.#free(process)
  }

  /** Lets the runtime make the process; its spec lies in the run directory as `exec-<slot>.json`. Rejects with ShimGone. */
  start (process: ShimProcess, { terminal, noInput, window }: ExecOptions): Promise<RuntimeResult> {
    this.#tag++
    process.asked = this.#connection
    const flags = (terminal ? shimFlag.terminal : 0) | (noInput ? shimFlag.noInput : 0)
    this.#send(encodePacket(packetType.op, { slot: process.slot, tag: this.#tag, op: shimOp.exec, flags, payload: encodeWindow(window.width, window.height, process.id) }))
    return process.result
  }

  /** Ends the call of the runtime that makes it. */
  abort (process: ShimProcess): void {
    this.#send(encodePacket(packetType.abort, { slot: process.slot }))
  }

  /** Its exit is in the journal. */
  acknowledge (process: ShimProcess): void {
    process.acknowledged = true
    this.#send(encodePacket(packetType.ack, { slot: process.slot }))
  }

  /** Another connection: what it will not name was lost on the way there or back. */
  renewed (): void {
    this.#connection++
  }

  /** True for a packet that was for this class. */
  receive (packet: ShimPacket, pidfd: number | null): boolean {
    if (packet.slot === 0) {
      if (packet.type === packetType.hello) this.#greeted()
      return false
    }
    let process = this.#slots.get(packet.slot)
    if (packet.type === packetType.process) {
      this.#named ??= new Set()
      this.#named.add(packet.slot)
      const id = new TextDecoder().decode(packet.payload)
      if (process?.id !== id) {
        process?.release()
        process = new ShimProcess(this.#watch, packet.slot, id)
        process.asked = this.#connection
        this.#slots.set(packet.slot, process)
      }
      this.#known(process, packet, pidfd)
      // That was lost with the connection before.
      if (process.acknowledged) this.acknowledge(process)
    } else if (process === undefined) {
      if (pidfd !== null) this.#watch.drop(pidfd)
    } else if (packet.type === packetType.result) {
      this.#known(process, packet, pidfd)
      if (packet.waitStatus !== 0 || packet.error !== 0 || packet.pid === 0) {
        process.settle({ waitStatus: packet.waitStatus, error: packet.error, pid: 0 })
        // A refusal (of a slot that is no process's) is all there is. After any other failure the shim frees the slot, and until it
        // has said so nobody else may have it: they would lose it by that word.
        if (packet.state === 0) this.#free(process)
        else process.freed = true
      }
    } else {
      this.#watch.drop(pidfd ?? undefined)
      this.#told(process, packet)
    }
    return true
  }

  #told (process: ShimProcess, packet: ShimPacket): void {
    if (packet.type === packetType.exit) {
      process.exited(exitFacts(packet))
    } else if (packet.type === packetType.free) {
      this.#free(process)
    }
  }

  /** The shim is gone. */
  over (error: Error): void {
    for (const process of this.#slots.values()) {
      process.giveUp(error)
      process.freed = true
      process.lose()
    }
  }

  /** Forgets all descriptors. */
  release (): void {
    for (const process of this.#slots.values()) process.release()
  }

  #known (process: ShimProcess, packet: ShimPacket, pidfd: number | null): void {
    process.state = packet.state
    if (packet.pid > 0) {
      process.pid = packet.pid
      if (packet.state === shimState.exited) {
        process.exited(exitFacts(packet))
        this.#watch.drop(pidfd ?? undefined)
      } else if (packet.type === packetType.result && (packet.flags & shimFlag.ended) !== 0) {
        // Its pid may be another's by now.
        this.#watch.drop(pidfd ?? undefined)
        process.expectExit()
      } else process.adopt(pidfd)
      process.settle({ waitStatus: 0, error: 0, pid: packet.pid })
      process.onStarted()
    } else if (pidfd !== null) this.#watch.drop(pidfd)
  }

  /** After a hello: what it did not name is not there any more. What was asked over the connection before may have been lost with it. */
  #greeted (): void {
    const named = this.#named ?? new Set()
    this.#named = undefined
    for (const process of [...this.#slots.values()]) {
      if (named.has(process.slot) || process.asked === 0 || process.asked === this.#connection) continue
      process.settle({ waitStatus: 255 << 8, error: 0, pid: 0 })
      this.#free(process)
      process.lose()
    }
  }

  #free (process: ShimProcess): void {
    process.freed = true
    process.release()
    this.#slots.delete(process.slot)
    this.#freed(process.slot)
  }
}
