import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile, readdir } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'

/** what init of a container does: ends at once, or stays until it is killed */
export type Kind = 'true' | 'sleep'

/**
 * One way to run containers, driven by its own interface over connections that stay open: no start of a command-line
 * program counts against it, but for the bare runtime, which is nothing else.
 */
export interface Engine {
  readonly name: string
  /** what it does besides, or otherwise, so that the figures are not like for like */
  readonly notes: string
  /** Starts its daemon on directories of its own; throws with what it said when it does not come up. */
  start: () => Promise<void>
  /** Ends it and everything that it runs. */
  stop: () => Promise<void>
  version: () => Promise<string>
  create: (id: string, kind: Kind) => Promise<void>
  begin: (id: string) => Promise<void>
  /** both in one, as a user of it would; `create` then `begin` where it has nothing shorter */
  launch: (id: string, kind: Kind) => Promise<void>
  /** Resolves at its exit event; asked for before the process may end. */
  exited: (id: string) => Promise<void>
  remove: (id: string) => Promise<void>
  /** init's pid on the host */
  pid: (id: string) => Promise<number>
  /** A signal that init ignores (SIGWINCH). */
  signal: (id: string) => Promise<void>
  /** its daemon and the helpers of its containers, none of the containers' own processes */
  processes: () => Promise<number[]>
  /** kill -9 of the daemon, and up again until it answers for its containers; undefined where nothing stays up */
  restart: (() => Promise<void>) | undefined
  /** another reader of its events; false where it has none to offer */
  listen: (() => Promise<Listener>) | undefined
}

/** One more reader of events on a connection of its own. */
export type Listener = { exited: (id: string) => Promise<void>, close: () => void }

/** Who waits for an exit is told once; an exit that comes first is kept. */
export class Exits {
  readonly #waiting = new Map<string, () => void>()
  readonly #seen = new Set<string>()

  async of (id: string): Promise<void> {
    if (this.#seen.delete(id)) return
    await new Promise<void>((resolve) => this.#waiting.set(id, resolve))
  }

  tell (id: string): void {
    const resolve = this.#waiting.get(id)
    if (resolve === undefined) this.#seen.add(id)
    else {
      this.#waiting.delete(id)
      resolve()
    }
  }
}

export type Answer = { status: number, body: string }

/** HTTP over a unix socket with kept-alive connections. */
export class HttpClient {
  readonly #socketPath: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 64 })

  constructor (socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Throws when the answer is not 2xx. */
  async call (method: string, path: string, body?: unknown): Promise<Answer> {
    const raw = body instanceof Buffer
    const payload = body === undefined || raw ? body : JSON.stringify(body)
    return await new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: this.#socketPath,
        agent: this.#agent,
        method,
        path,
        headers: payload === undefined ? {} : { 'content-type': raw ? 'application/x-tar' : 'application/json', 'content-length': Buffer.byteLength(payload as string | Buffer) }
      }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => { text += chunk })
        response.on('error', reject)
        response.on('end', () => {
          const status = response.statusCode ?? 0
          if (status >= 200 && status < 300) resolve({ status, body: text })
          else reject(new Error(`${method} ${path}: ${status} ${text.slice(0, 300)}`))
        })
      })
      request.on('error', reject)
      request.end(payload)
    })
  }

  /** A response that goes on, cut at `separator`; returns the way to end it, once it has begun. */
  async stream (path: string, separator: string, onPart: (part: string) => void, accept = 'application/json'): Promise<() => void> {
    const request = http.get({ socketPath: this.#socketPath, path, agent: false, headers: { accept } })
    request.on('error', () => {}) // its end is not an event of interest
    const [response] = await once(request, 'response') as [http.IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`GET ${path}: ${response.statusCode}`)
    let rest = ''
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      rest += chunk
      for (let end = rest.indexOf(separator); end !== -1; end = rest.indexOf(separator)) {
        const part = rest.slice(0, end)
        rest = rest.slice(end + separator.length)
        if (part.trim() !== '') onPart(part)
      }
    })
    return () => request.destroy()
  }

  close (): void {
    this.#agent.destroy()
  }
}

/** A program in the background, with its words in a file. */
export class Server {
  readonly child: ChildProcess
  readonly log: string

  private constructor (child: ChildProcess, log: string) {
    this.child = child
    this.log = log
  }

  static async spawn (directory: string, command: string, args: string[], env: Record<string, string> = {}): Promise<Server> {
    await mkdir(directory, { recursive: true })
    const log = join(directory, `${command.split('/').at(-1) ?? command}.log`)
    const file = await open(log, 'a')
    const child = spawn(command, args, { stdio: ['ignore', file.fd, file.fd], env: { ...process.env, ...env } })
    await new Promise<void>((resolve, reject) => { child.once('spawn', resolve); child.once('error', reject) }).finally(async () => await file.close())
    return new Server(child, log)
  }

  /** Asks until `ready` does not throw; throws with the end of its log when it has not come up in time. */
  async ready (ready: () => Promise<unknown>, seconds = 60): Promise<void> {
    const deadline = performance.now() + seconds * 1000
    for (;;) {
      const failure = await ready().then(() => undefined, (error: unknown) => error)
      if (failure === undefined) return
      if (this.child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`it did not come up (${String(failure)}): ${(await readFile(this.log, 'utf8')).slice(-500)}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async end (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = once(this.child, 'exit')
    this.child.kill(signal)
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(timer)
  }
}

/** pids whose command line has this text */
export async function processesWith (text: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (line.includes(text)) found.push(Number(name))
  }
  return found
}

/** Ends processes and all that came from them, from the leaves: what an engine that did not stop by itself leaves. */
export async function endTree (pids: number[]): Promise<void> {
  for (const pid of pids) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
    await endTree(children.split(' ').filter((text) => text !== '').map(Number))
    try { process.kill(pid, 'SIGKILL') } catch { /* it has ended */ }
  }
}

/** Memory as the kernel divides it among those who share it, KiB; 0 for a process that has gone. */
export async function pss (pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0)
}

/** The container that docker and podman make of a root directory: what both take as JSON. */
export const command = { true: ['/bin/true'], sleep: ['/bin/sleep', '100000'] } as const
