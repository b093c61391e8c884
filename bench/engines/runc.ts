import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LineProgram, compile } from '../support/programs.ts'
import { Exits, type Engine, type Kind } from './engine.ts'
import { HttpClient } from './http-client.ts'

/**
 * The floor under each figure: the runtime executed by the benchmark itself; for exits a C program that waits for the
 * same kind of death and writes to sockets; for signals the daemon's HTTP framework that answers an empty 204 and does nothing.
 */
export function bareRuntime (runtime: string, directory: string, bundles: Record<Kind, string>): Engine {
  const home = join(directory, 'bare')
  const root = join(home, 'root')
  const fastifySocket = join(home, 'fastify.sock')
  const tellerSocket = join(home, 'teller.sock')
  const exits = new Exits()
  const pids = new Map<string, number>()
  const http = new HttpClient(fastifySocket)
  let teller: LineProgram | undefined
  let fastify: LineProgram | undefined
  // Watches are asked for one after another, so that each `ready` is that of its own line.
  let turn: Promise<unknown> = Promise.resolve()
  let stopReading = (): void => {}

  const run = async (...args: string[]): Promise<number | null> => {
    // With its output nowhere, since init inherits it and would hold a pipe open.
    const child = spawn(runtime, ['--root', root, ...args], { stdio: 'ignore' })
    const [code] = await once(child, 'exit') as [number | null]
    return code
  }
  const answered = async (line: string, answer: string): Promise<void> => {
    const mine = turn.then(async () => {
      if (line !== '') teller?.say(line)
      while (await teller?.line() !== answer);
    })
    turn = mine.catch(() => {})
    await mine
  }
  const read = async (told: Exits): Promise<() => void> => {
    const socket = net.connect(tellerSocket)
    socket.on('error', () => {}) // it ends with the program
    createInterface(socket).on('line', (line) => told.tell(line.split(' ', 1)[0] ?? ''))
    await answered('', 'joined')
    return () => socket.destroy()
  }
  const remove = async (id: string): Promise<void> => {
    const pid = pids.get(id)
    pids.delete(id)
    // delete refuses until the process has ended, which is nearly always so by now
    for (let tries = 0; await run('delete', id) !== 0; tries++) {
      if (tries > 20) throw new Error('delete failed')
      if (tries > 1 && pid !== undefined) try { process.kill(pid, 'SIGKILL') } catch { /* it has ended */ }
    }
  }
  const clear = async (): Promise<void> => {
    const left = [...pids.keys()]
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) {
        await run('kill', id, 'KILL')
        await remove(id)
      }
    }))
  }
  const create = async (id: string, kind: Kind): Promise<void> => {
    const file = join(home, `${id}.pid`)
    if (await run('create', '--bundle', bundles[kind], '--pid-file', file, id) !== 0) throw new Error('create failed')
    const pid = Number(await readFile(file, 'utf8'))
    pids.set(id, pid)
    // Init waits for `start`, so it is there to be watched.
    await answered(`${pid} ${id}`, 'ready')
  }
  const begin = async (id: string): Promise<void> => { if (await run('start', id) !== 0) throw new Error('start failed') }
  return {
    name: 'bare',
    notes: `lives: \`${runtime} create; start; delete\` executed by the benchmark; exits: a C program that waits by pidfd and writes to a socket; signals: the same Fastify with a handler that only answers 204`,
    start: async () => {
      await mkdir(home, { recursive: true })
      teller = new LineProgram(await compile('exit-teller', home), [tellerSocket])
      await teller.line()
      fastify = new LineProgram(process.execPath, [join(import.meta.dirname, '../support/bare-fastify.ts'), fastifySocket])
      await fastify.line()
      stopReading = await read(exits)
    },
    clear,
    stop: async () => {
      await clear()
      stopReading()
      http.close()
      teller?.end()
      fastify?.end()
    },
    version: async () => {
      const child = spawn(runtime, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] })
      let text = ''
      child.stdout.on('data', (chunk: Buffer) => { text += chunk.toString() })
      await once(child, 'close')
      return (text.split('\n')[0] ?? '').replace(' version', '').trim()
    },
    create,
    begin,
    launch: async (id, kind) => { await create(id, kind); await begin(id) },
    exited: async (id) => await exits.of(id),
    remove,
    pid: async (id) => pids.get(id) ?? 0,
    signal: async (id) => { await http.call('POST', `/containers/${id}/signal`, { signal: 'SIGWINCH' }) },
    signalRequest: (id) => ({ socketPath: fastifySocket, path: `/containers/${id}/signal`, body: '{"signal":"SIGWINCH"}' }),
    signallers: async () => (fastify?.child.pid === undefined ? [] : [fastify.child.pid]),
    processes: async () => [],
    restart: undefined,
    listen: async () => {
      const told = new Exits()
      return { close: await read(told), exited: async (id) => await told.of(id) }
    }
  }
}
