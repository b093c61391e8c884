import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Exits, type Engine } from './engine.ts'

/** A program in the background, with its words in a file. */
export class Server {
  readonly child: ChildProcess
  readonly log: string

  private constructor (child: ChildProcess, log: string) {
    this.child = child
    this.log = log
  }

  static async spawn (directory: string, command: string, args: string[]): Promise<Server> {
    await mkdir(directory, { recursive: true })
    const log = join(directory, `${command.split('/').at(-1) ?? command}.log`)
    const file = await open(log, 'a')
    const child = spawn(command, args, { stdio: ['ignore', file.fd, file.fd] })
    await new Promise<void>((resolve, reject) => { child.once('spawn', resolve); child.once('error', reject) }).finally(async () => await file.close())
    return new Server(child, log)
  }

  get ended (): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Asks until `ready` does not throw; throws with the end of its log when it has not come up in time. */
  async ready (ready: () => Promise<unknown>, seconds = 60): Promise<void> {
    const deadline = performance.now() + seconds * 1000
    for (;;) {
      const failure = await ready().then(() => undefined, (error: unknown) => error)
      if (failure === undefined) return
      if (this.ended || performance.now() > deadline) {
        throw new Error(`it did not come up (${String(failure)}): ${(await readFile(this.log, 'utf8')).slice(-500)}`)
      }
      // Nothing to await: the answer is what is waited for.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async end (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.ended) return
    const ended = once(this.child, 'exit')
    this.child.kill(signal)
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(timer)
  }
}

/** A daemon and how it is spoken to: what differs between one and another. */
export type Service = {
  /** the directory for all that it keeps */
  home: string
  program: string
  args: string[]
  /** Opens what calls go over; after a restart anew. */
  connect: () => void
  disconnect: () => void
  /** Does not throw when it is up. */
  answers: () => Promise<unknown>
  /** What is done once, when it has come up for the first time. */
  prepare?: () => Promise<void>
  /** Reads its events into `told`, and returns the way to end that. */
  read: (told: Exits) => Promise<() => void>
  /** names of all containers that it has */
  containers: () => Promise<string[]>
  remove: (id: string) => Promise<void>
}

/** What all daemons have done to them alike: start, kill and restart, one more reader, stop. */
export function serve (service: Service): Pick<Engine, 'start' | 'stop' | 'clear' | 'restart' | 'exited' | 'listen'> & { pid: () => number | undefined } {
  const exits = new Exits()
  let server: Server | undefined
  let stopReading = (): void => {}
  const up = async (): Promise<void> => {
    server = await Server.spawn(service.home, service.program, service.args)
    await server.ready(service.answers)
  }
  const clear = async (): Promise<void> => {
    const left = await service.containers()
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await service.remove(id)
    }))
  }
  return {
    pid: () => server?.child.pid,
    start: async () => {
      service.connect()
      await up()
      await service.prepare?.()
      stopReading = await service.read(exits)
    },
    clear,
    stop: async () => {
      stopReading()
      if (server?.ended === false) await clear().finally(async () => await server?.end())
      service.disconnect()
    },
    restart: async () => {
      stopReading()
      await server?.end('SIGKILL')
      service.disconnect()
      service.connect()
      // dockerd may give up waiting for its own containerd; a service manager would start it again, and so is it done here.
      await up().catch(up)
      await service.containers()
      stopReading = await service.read(exits)
    },
    exited: async (id) => await exits.of(id),
    listen: async () => {
      const told = new Exits()
      return { close: await service.read(told), exited: async (id) => await told.of(id) }
    }
  }
}
