import { randomInt } from 'node:crypto'
import { hasCode } from '../errors.ts'
import { shimPath, type ProbeResult } from '../native/index.ts'
import { isHeld } from './blocked.ts'
import type { ExitFacts } from './exit.ts'
import { LastWord, reapLimit } from './last-word.ts'
import { ShimConnection } from './shim-connection.ts'
import { ShimProcesses, exitFacts } from './shim-processes.ts'
import { encodePacket, packetType, shimFlag, shimOp, shimState, type ShimPacket } from './shim-protocol.ts'
import { ShimStreams, type LogEnd } from './shim-streams.ts'
import type { Watch } from './watch.ts'

export type RuntimeResult = { waitStatus: number, error: number, pid: number }

export type ShimSpawn = {
  runtimeId: string
  bundle: string
  /** durable directory of the run: output segments and the exit record */
  outDir: string
  /** directory of the run that goes with a reboot: sockets, pid file, the runtime's log */
  runDir: string
  terminal: boolean
  /** columns and rows of the terminal */
  window?: { width: number, height: number } | undefined
  noPivotRoot: boolean
  logSegmentBytes: number
  logSegments: number
  /** mount point of the hierarchy that has the memory controller */
  memory: { version: 1 | 2, mount: string } | undefined
  runtime: string
  globalArgs: string[]
  /** arguments of the runtime's restore, which is then called in place of its create, and after which init runs */
  restore?: string[] | undefined
  /** runc's `exec.fifo` of this run, where the shim may do its start by it (native/shim/start.c) */
  startFifo?: string | undefined
}

/** The shim is not there any more, so what was asked of it will not be answered. */
export class ShimGone extends Error {
  constructor () {
    super('the shim of the container has ended')
    this.name = 'ShimGone'
  }
}

/** `op`: 0 for create, which nobody asks for */
type Pending = { op: number, resolve: (result: RuntimeResult) => void, reject: (error: Error) => void }

/**
 * The daemon's end of one shim: commands with their results, and three notices, each at most once:
 * `onExit` (the shim reaped init), `onInitEnded` (init's pidfd; the status if the kernel tells it), `onGone` (the shim's own pidfd).
 */
export class Shim {
  readonly pid: number
  /** init's pid, 0 until the runtime's create has succeeded */
  initPid = 0
  state: number = shimState.creating
  /** the runtime's start has succeeded */
  started = false
  onExit: (facts: ExitFacts) => void = () => {}
  onInitEnded: (status: number | null) => void = () => {}
  onGone: () => void = () => {}
  readonly #watch: Watch
  readonly #process: number
  readonly #connection: ShimConnection
  readonly #streams: ShimStreams
  /** what was executed beside init */
  readonly processes: ShimProcesses
  #init: number | undefined
  #initStatus: number | null | undefined
  readonly #lastWord = new LastWord()
  #exit: ExitFacts | undefined
  // An earlier daemon's number must not be met again: the shim knows by it what it has done.
  #tag = randomInt(1, 2 ** 31)
  #acknowledged = false
  #gone = false
  readonly #pending = new Map<number, Pending>()
  readonly #hello: Promise<void>
  #greeted: () => void = () => {}
  /** resolves when the shim has ended */
  readonly ended: Promise<void>
  #resolveEnded: () => void = () => {}

  private constructor (watch: Watch, runDir: string, tokens: { pid: number, process: number, connection: number }) {
    this.#watch = watch
    this.pid = tokens.pid
    this.#process = tokens.process
    this.#hello = new Promise((resolve) => { this.#greeted = resolve })
    this.ended = new Promise((resolve) => { this.#resolveEnded = resolve })
    this.#connection = new ShimConnection(watch, runDir, tokens.connection, {
      packet: (packet, pidfd) => this.#receive(packet, pidfd),
      renewed: () => {
        this.processes.renewed()
        this.#streams.renewed()
        for (const [tag, { op }] of this.#pending) if (tag !== 0) this.#connection.send(encodePacket(packetType.op, { tag, op }))
      },
      over: () => this.#over()
    })
    const send = (packet: Uint8Array): void => this.#connection.send(packet)
    this.#streams = new ShimStreams(send)
    this.processes = new ShimProcesses(watch, send, (slot) => this.#streams.freed(slot))
    watch.on(tokens.process, (event) => {
      if (event.kind !== 'exit') return
      watch.drop(tokens.process)
      // Its last packets may still be unread: the end of the connection comes after them.
      this.#connection.ended()
    })
  }

  /** Starts a shim for a new run; it runs the runtime's create at once, whose result is `created`. */
  static async spawn (watch: Watch, spawn: ShimSpawn): Promise<{ shim: Shim, created: Promise<RuntimeResult> }> {
    const args = ['--id', spawn.runtimeId, '--bundle', spawn.bundle, '--out', spawn.outDir,
      '--log-bytes', String(spawn.logSegmentBytes), '--log-segments', String(spawn.logSegments)]
    if (spawn.terminal) args.push('--terminal')
    if (spawn.window !== undefined) args.push('--width', String(spawn.window.width), '--height', String(spawn.window.height))
    if (spawn.noPivotRoot) args.push('--no-pivot')
    if (spawn.memory !== undefined) args.push(spawn.memory.version === 1 ? '--cgroup1-memory' : '--cgroup2', spawn.memory.mount)
    if (spawn.restore !== undefined) args.push('--restore', ...spawn.restore.flatMap((argument) => ['--extra', argument]))
    if (spawn.startFifo !== undefined) args.push('--start-fifo', spawn.startFifo)
    args.push('--', spawn.runtime, ...spawn.globalArgs)
    const env = Object.entries(process.env).filter(([name]) => name !== 'NOTIFY_SOCKET' && !name.startsWith('LONGSHORE_'))
      .map(([name, value]) => `${name}=${value ?? ''}`)
    const tokens = await watch.monitor.spawnShim({ path: shimPath, args, runDir: spawn.runDir, env })
    const shim = new Shim(watch, spawn.runDir, tokens)
    // Create is the op with tag 0: nobody asks for it, so it is awaited from the start.
    const created = shim.#result(0, 0)
    created.catch(() => {})
    return { shim, created }
  }

  /** Finds the shim of a run that an earlier daemon started; undefined when there is none. */
  static async connect (watch: Watch, runDir: string): Promise<Shim | undefined> {
    try {
      return new Shim(watch, runDir, await watch.monitor.connectShim(runDir))
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED', 'ESRCH', 'ENOTDIR', 'ECONNRESET'].some((code) => hasCode(error, code))) return undefined
      throw error
    }
  }

  /** Resolves when the shim has told its state; rejects with ShimGone. */
  async hello (): Promise<void> {
    await this.#hello
    if (this.#gone) throw new ShimGone()
  }

  get gone (): boolean {
    return this.#gone
  }

  /** What the shim saw of init's end, if it has. */
  get exit (): ExitFacts | undefined {
    return this.#exit
  }

  start (): Promise<RuntimeResult> {
    return this.#op(shimOp.start)
  }

  /** `runtime delete`, with --force when asked. */
  delete (force: boolean): Promise<RuntimeResult> {
    return this.#op(force ? shimOp.deleteForce : shimOp.delete)
  }

  /** Ends the runtime call that is under way, which then has its result. */
  abort (): void {
    this.#connection.send(encodePacket(packetType.abort))
  }

  /** The exit is in the journal: the shim need not tell it again. */
  acknowledge (): void {
    this.#acknowledged = true
    this.#connection.send(encodePacket(packetType.ack))
  }

  /** All is done: the shim may go. */
  quit (): void {
    this.#connection.send(encodePacket(packetType.quit))
  }

  /**
   * Resolves once the log of a slot (0: init's) has bytes beyond `offset` (of its whole length, over all segments), or has
   * ended for good; at once when that is so already. Given up with the signal.
   */
  follow (slot: number, offset: number, signal?: AbortSignal): Promise<LogEnd> {
    return this.#streams.follow(slot, offset, signal)
  }

  /** Resolves when all bytes are in the process's hands, so wait for it before giving more; rejects with code EPIPE when its input is closed or it has ended. */
  input (slot: number, bytes: Uint8Array): Promise<void> {
    return this.#streams.input(slot, bytes)
  }

  /** End of file for the process, after all input that was given before; a terminal gets its end-of-file character. */
  closeInput (slot: number): Promise<void> {
    return this.#streams.closeInput(slot)
  }

  /** Columns and rows of the slot's terminal; the kernel tells the foreground process (SIGWINCH). */
  resize (slot: number, width: number, height: number): void {
    this.#streams.resize(slot, width, height)
  }

  /** pidfd_send_signal(2) to init; throws with code ESRCH when it has ended. */
  signalInit (signal: number): void {
    if (this.#init === undefined || this.#initStatus !== undefined) throw Object.assign(new Error('init has ended'), { code: 'ESRCH' })
    this.#watch.monitor.signal(this.#init, signal)
  }

  /** Whether somebody answers on a port in init's network namespace; see Monitor.probe(). Throws with code ESRCH when it has ended. */
  async probe (options: { pid: number, port: number, path?: string, milliseconds: number }): Promise<ProbeResult> {
    if (this.#init === undefined || this.#initStatus !== undefined) throw Object.assign(new Error('init has ended'), { code: 'ESRCH' })
    return await this.#watch.monitor.probe({ ...options, process: this.#init })
  }

  /** SIGKILL to the shim itself: the end of the ladder for one that does not answer. */
  kill (): void {
    if (this.#gone) return
    try {
      this.#watch.monitor.signal(this.#process, 9)
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error
    }
  }

  /** Forgets all descriptors; the shim itself goes on. */
  release (): void {
    this.#connection.release()
    this.processes.release()
    this.#watch.drop(this.#init)
    this.#watch.drop(this.#process)
    this.#init = undefined
    this.#lastWord.close()
  }

  #op (op: number): Promise<RuntimeResult> {
    const tag = ++this.#tag
    const result = this.#result(tag, op)
    this.#connection.send(encodePacket(packetType.op, { tag, op }))
    return result
  }

  #result (tag: number, op: number): Promise<RuntimeResult> {
    if (this.#gone) return Promise.reject(new ShimGone())
    return new Promise((resolve, reject) => this.#pending.set(tag, { op, resolve, reject }))
  }

  #receive (packet: ShimPacket, pidfd: number | null): void {
    if (this.#streams.receive(packet)) {
      this.#watch.drop(pidfd ?? undefined)
      return
    }
    if (this.processes.receive(packet, pidfd)) return
    if (pidfd !== null) this.#adopt(pidfd)
    if (packet.pid > 0) this.initPid = packet.pid
    if (packet.type === packetType.hello) {
      this.state = packet.state
      this.started = (packet.flags & shimFlag.started) !== 0
      if (packet.state === shimState.exited || packet.state === shimState.deleted) this.#exited(packet)
      if (this.#acknowledged) this.acknowledge()
      this.#createdBefore(packet)
      this.#greeted()
    } else if (packet.type === packetType.result) {
      const pending = this.#pending.get(packet.tag)
      this.#pending.delete(packet.tag)
      if (packet.op === shimOp.create) this.#created(packet)
      if (packet.op === shimOp.start && packet.waitStatus === 0 && this.state === shimState.created) this.state = shimState.running
      pending?.resolve({ waitStatus: packet.waitStatus, error: packet.error, pid: packet.pid })
    } else if (packet.type === packetType.exit) {
      this.#exited(packet)
    }
  }

  /** The result of create was lost with the connection before: what has come of it is in the state. Of a failure the runtime's words tell more. */
  #createdBefore (packet: ShimPacket): void {
    const pending = this.#pending.get(0)
    if (pending === undefined || packet.state === shimState.creating) return
    this.#pending.delete(0)
    const { pid } = packet
    if (pid > 0 && packet.state === shimState.created) this.#created({ ...packet, waitStatus: 0, error: 0 })
    pending.resolve({ waitStatus: pid > 0 ? 0 : 255 << 8, error: 0, pid })
  }

  #created ({ waitStatus, error, pid, flags }: ShimPacket): void {
    const succeeded = waitStatus === 0 && error === 0 && pid > 0
    this.state = succeeded ? shimState.created : shimState.createFailed
    if (!succeeded || this.#init !== undefined) return
    // The shim could not send a descriptor of init: it has ended, and its exit follows, unless it was never the shim's child.
    try {
      if ((flags & shimFlag.ended) === 0) return this.#adopt(this.#watch.monitor.openProcess(pid))
    } catch (failure) {
      if (!hasCode(failure, 'ESRCH')) throw failure
    }
    this.#initStatus = null
    this.onInitEnded(null)
  }

  #adopt (pidfd: number): void {
    if (this.#init !== undefined) {
      this.#watch.drop(pidfd)
      return
    }
    this.#init = pidfd
    this.#watch.on(pidfd, (event) => {
      if (event.kind !== 'exit') return
      if (this.#lastWord.hear(event)) {
        this.#watch.drop(pidfd)
        this.#init = undefined
      }
      if (this.#initStatus !== undefined) return
      this.#initStatus = event.status
      this.onInitEnded(event.status)
    })
  }

  #exited (packet: ShimPacket): void {
    if (this.#exit !== undefined || packet.pid === 0) return
    this.#exit = exitFacts(packet)
    this.state = shimState.exited
    this.onExit(this.#exit)
  }

  /** True while init's pidfd is held, so that its end will be seen. */
  get initWatched (): boolean {
    return this.#init !== undefined && this.#initStatus === undefined
  }

  /** The status that the kernel told of init's end: undefined while it lives, null when it ended unseen, or has not been reaped yet. */
  get initStatus (): number | null | undefined {
    return this.#initStatus
  }

  /** Of init that has ended: the status that the kernel tells once it has been reaped, null when it does not. */
  async lastInitStatus (): Promise<number | null> {
    return this.#initStatus ?? (this.#init === undefined ? this.#lastWord.status : await this.#lastWord.within(reapLimit, async () => await isHeld(this.initPid)))
  }

  #over (): void {
    this.#gone = true
    this.#streams.over()
    this.processes.over(new ShimGone())
    this.#resolveEnded()
    this.#greeted()
    for (const { reject } of this.#pending.values()) reject(new ShimGone())
    this.#pending.clear()
    this.onGone()
  }
}
