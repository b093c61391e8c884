import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** What the monitor saw. Tokens stand for descriptors, which never leave the addon; none is used twice. */
export type MonitorEvent =
  /** from a shim; `pidfd` is the token of a process descriptor that came along, watched already */
  | { kind: 'packet', token: number, packet: Uint8Array, pidfd: number | null }
  /** a connection ended; it is out of the set, and drop() frees it */
  | { kind: 'hangup', token: number }
  /**
   * a process ended. The status is as wait(2) gives it, null where the kernel does not tell. When `final` it is out of the set; else it is
   * another's child that has not been reaped yet: once it is, that is told in another event, with its status (Linux 6.15)
   */
  | { kind: 'exit', token: number, status: number | null, final: boolean }
  /** the memory group's count of OOM kills went up to this */
  | { kind: 'oom', token: number, count: number }

type Spawned = { pid: number, process: number, connection: number }

type NativeMonitor = {
  readonly size: number
  spawnShim: (options: { path: string, args: string[], runDir: string, env: string[] }) => Promise<Spawned>
  connectShim: (runDir: string) => Promise<Spawned>
  run: (options: { path: string, args: string[], cwd?: string, env: string[], stdio: string }) => Promise<Spawned>
  openProcess: (pid: number) => number
  watchOom: (options: { version: 1 | 2, dir: string }) => number
  send: (token: number, packet: Uint8Array) => void
  signal: (token: number, signal: number) => void
  probe: (options: { process: number, pid: number, port: number, path?: string, milliseconds: number }) => Promise<ProbeResult>
  drop: (token: number) => void
  close: () => void
}

/** `output`: the first line of the answer, or why there was none */
export type ProbeResult = { healthy: boolean, output: string }

type NativeFanout = {
  readonly size: number
  adopt: (fd: number) => number
  write: (tokens: Uint32Array, count: number, bytes: Uint8Array, results: Int32Array) => void
  shutdown: (token: number) => void
  drop: (token: number) => void
  close: () => void
}

/** Files that are read together again and again; see openSet(). */
export type FileSet = { close: () => void }

/** null: it could not be read. `at`: milliseconds of CLOCK_MONOTONIC, before the first was read */
export type FileTexts = { texts: (string | null)[], at: number }

type Addon = {
  mapFile: (path: string, bytes: number) => ArrayBuffer
  writeRecord: (memory: Uint8Array, at: number, text: string) => number
  releaseMemory: () => void
  loopTurns: () => Float64Array
  Fanout: new (deliver: (notices: Uint32Array) => void) => NativeFanout
  Monitor: new (deliver: (numbers: Float64Array, packets: Uint8Array) => void) => NativeMonitor
  lock: (path: string) => number
  unlock: (fd: number) => void
  notify: (path: string, text: string) => void
  now: () => bigint
  fileSteps: (steps: readonly object[]) => Promise<(string | boolean | undefined)[]>
  FileSet: new (paths: string[], kept: number) => FileSet
  readSets: (sets: FileSet[], limit: number) => Promise<FileTexts>
}

const buildDirectory = new URL('../../build/', import.meta.url)

function load (): Addon {
  const path = process.env.LONGSHORE_ADDON ?? fileURLToPath(new URL('longshore.node', buildDirectory))
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch (error) {
    throw new Error(`the native addon could not be loaded from ${path}; \`make build\` builds it`, { cause: error })
  }
}

/** As it is: this file and those beside it give it types and a face. */
export const addon = load()

/** The program that looks after one run of a container. */
export const shimPath = process.env.LONGSHORE_SHIM ?? fileURLToPath(new URL('longshore-shim', buildDirectory))

const groupSize = 5

function decode (numbers: Float64Array, packets: Uint8Array): MonitorEvent[] {
  const events: MonitorEvent[] = []
  for (let at = 0; at < numbers.length; at += groupSize) {
    // One by one: taking an array apart costs several times as much where it has not become hot, as for the rare end of a process.
    const kind = numbers[at]
    const token = numbers[at + 1] ?? 0
    const first = numbers[at + 2] ?? 0
    const second = numbers[at + 3] ?? 0
    const third = numbers[at + 4] ?? 0
    if (kind === 0) events.push({ kind: 'packet', token, packet: packets.subarray(second, second + third), pidfd: first === 0 ? null : first })
    else if (kind === 1) events.push({ kind: 'hangup', token })
    else if (kind === 2) events.push({ kind: 'exit', token, status: first === 1 ? second : null, final: third === 1 })
    else events.push({ kind: 'oom', token, count: first })
  }
  return events
}

/**
 * One epoll set (epoll(7)) for every process, shim and OOM notice, in the event loop (which it keeps alive);
 * `onBatch` is called once for all that is ready. Errors are system errors with `code`, `errno` and `syscall`.
 */
export class Monitor {
  readonly #native: NativeMonitor

  constructor (onBatch: (events: MonitorEvent[]) => void) {
    this.#native = new addon.Monitor((numbers, packets) => onBatch(decode(numbers, packets)))
  }

  /** how many descriptors are in the set */
  get size (): number {
    return this.#native.size
  }

  /** Starts a shim in its run directory; both tokens are watched before the promise resolves. */
  spawnShim (options: { path: string, args: string[], runDir: string, env: string[] }): Promise<Spawned> {
    return this.#native.spawnShim(options)
  }

  /** The shim that listens in a run directory; rejects with ECONNREFUSED or ENOENT when there is none. */
  connectShim (runDir: string): Promise<Spawned> {
    return this.#native.connectShim(runDir)
  }

  /** Starts a program in a process group of its own; `stdio` is the file that its output goes to, emptied first. */
  async run (options: { path: string, args: string[], cwd?: string, env: string[], stdio: string }): Promise<{ pid: number, process: number }> {
    const { pid, process } = await this.#native.run(options)
    return { pid, process }
  }

  /** pidfd_open(2), watched; throws ESRCH. */
  openProcess (pid: number): number {
    return this.#native.openProcess(pid)
  }

  /** Watches for OOM kills in a cgroup directory of the memory controller: eventfd on v1, memory.events on v2. */
  watchOom (options: { version: 1 | 2, dir: string }): number {
    return this.#native.watchOom(options)
  }

  /** Sends a packet without waiting; throws EAGAIN when the other end does not read, EPIPE when it is gone. */
  send (token: number, packet: Uint8Array): void {
    this.#native.send(token, packet)
  }

  /** pidfd_send_signal(2); throws ESRCH when the process has ended. */
  signal (token: number, signal: number): void {
    this.#native.signal(token, signal)
  }

  /**
   * Whether somebody listens on a port of 127.0.0.1 or ::1 in the network namespace of a watched process (setns(2)); with a path,
   * whether its server answers a GET with 200 to 399. On a thread of its own until there is an answer or the time is over; the
   * caller bounds how many there are. `pid`: of that process; throws ESRCH when it has ended.
   */
  async probe (options: { process: number, pid: number, port: number, path?: string, milliseconds: number }): Promise<ProbeResult> {
    return await this.#native.probe(options)
  }

  /** Closes what the token stands for; harmless when done twice. */
  drop (token: number): void {
    this.#native.drop(token)
  }

  /** Closes everything; harmless when done twice. */
  close (): void {
    this.#native.close()
  }
}

/** Steps on files in one errand of the thread pool; src/runtime/files.ts has their types. A result for each step. */
export async function fileSteps (steps: readonly object[]): Promise<(string | boolean | undefined)[]> {
  return await addon.fileSteps(steps)
}

/**
 * The turns of this thread's event loop since the first call: how many, how many of more than 5 ms, and the longest (in seconds)
 * since the last call. The wait for something to do is no part of a turn; nothing is woken up for the measuring.
 */
export function loopTurns (): { turns: number, long: number, longest: number } {
  const [turns = 0, long = 0, nanoseconds = 0] = addon.loopTurns()
  return { turns, long, longest: nanoseconds / 1e9 }
}

/** Takes a lock that lasts as long as the process at most; throws EWOULDBLOCK when another one has it. Returns the way to give it back. */
export function lockFile (path: string): () => void {
  const fd = addon.lock(path)
  return () => addon.unlock(fd)
}

/** Tells the service manager, where there is one (sd_notify(3)). */
export function sdNotify (text: string): void {
  const path = process.env.NOTIFY_SOCKET
  if (path !== undefined && path !== '') addon.notify(path, text)
}

/** Nanoseconds since 1970, of the clock that the shims stamp exits with (CLOCK_REALTIME, clock_gettime(2)). */
export function nowNs (): bigint {
  return addon.now()
}

/**
 * Names files for readSets(). The first `kept` of them stay open from their first reading on, until close(), after which they are
 * opened again when they are read again. Only for files whose text the kernel makes anew for every reader (of the cgroup file system).
 */
export function openSet (paths: string[], kept: number): FileSet {
  return new addon.FileSet(paths, kept)
}

/** Reads all files of all sets in one call off the event loop, `limit` bytes of each at most; the texts come one after another. Rejects with EMFILE, ENFILE or ENOMEM. */
export function readSets (sets: FileSet[], limit: number): Promise<FileTexts> {
  return addon.readSets(sets, limit)
}

/** Reads many small files in one call off the event loop, as readSets() does. */
export function readFiles (paths: string[], limit: number): Promise<FileTexts> {
  return addon.readSets([new addon.FileSet(paths, 0)], limit)
}

/**
 * A regular file as memory (mmap(2), MAP_SHARED): made with mode 0600 and filled up with zeros where needed. What is written
 * to it survives this process, not the machine. Nothing may make the file shorter meanwhile. Throws a system error.
 */
export function mapFile (path: string, bytes: number): ArrayBuffer {
  return addon.mapFile(path, bytes)
}

/**
 * Writes a record of the lane (events/lane.ts) but for its length, in one call: 4 bytes of zeros for that, the CRC-32 of the text, and the text.
 * Returns how many bytes the text has; 0 when there was no room for it.
 */
export function writeRecord (memory: Uint8Array, at: number, text: string): number {
  return addon.writeRecord(memory, at, text)
}

/**
 * Gives memory back that was needed to start: what malloc holds (malloc_trim(3)) and the pages of Node.js's own program file
 * (madvise(2), MADV_DONTNEED), which stay in the page cache. About a millisecond; what is used again is there again at once.
 */
export function releaseMemory (): void {
  addon.releaseMemory()
}
