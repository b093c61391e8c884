import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Monitor } from '../../src/native/index.ts'
import { Exits, processesWith, type Engine, type Kind } from './engine.ts'

/** The floor: the runtime executed by the benchmark itself, and a pidfd to see the end by. */
export function bareRuntime (runtime: string, directory: string, bundles: Record<Kind, string>): Engine {
  const root = join(directory, 'bare')
  const exits = new Exits()
  const tokens = new Map<number, string>()
  const monitor = new Monitor((events) => {
    for (const event of events) {
      const id = tokens.get(event.token)
      if (id === undefined) continue
      tokens.delete(event.token)
      monitor.drop(event.token)
      exits.tell(id)
    }
  })
  const pids = new Map<string, number>()
  const run = async (...args: string[]): Promise<number | null> => {
    // With its output nowhere, since init inherits it and would hold a pipe open.
    const child = spawn(runtime, ['--root', root, ...args], { stdio: 'ignore' })
    const [code] = await once(child, 'exit') as [number | null]
    return code
  }
  const engine: Engine = {
    name: `bare ${runtime}`,
    notes: 'the runtime executed by the benchmark; its start is part of each figure',
    start: async () => {},
    stop: async () => {
      for (const pid of await processesWith(root)) process.kill(pid, 'SIGKILL')
      monitor.close()
    },
    version: async () => {
      const child = spawn(runtime, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] })
      let text = ''
      child.stdout.on('data', (chunk: Buffer) => { text += chunk.toString() })
      await once(child, 'close')
      return (text.split('\n')[0] ?? '').trim()
    },
    create: async (id, kind) => {
      const file = join(directory, `${id}.pid`)
      if (await run('create', '--bundle', bundles[kind], '--pid-file', file, id) !== 0) throw new Error('create failed')
      const pid = Number(await readFile(file, 'utf8'))
      pids.set(id, pid)
      // Init waits for `start`, so it is there to be watched.
      tokens.set(monitor.openProcess(pid), id)
    },
    begin: async (id) => { if (await run('start', id) !== 0) throw new Error('start failed') },
    launch: async (id, kind) => { await engine.create(id, kind); await engine.begin(id) },
    exited: async (id) => await exits.of(id),
    // delete refuses until the process has ended, which is nearly always so by now
    remove: async (id) => {
      const pid = pids.get(id)
      pids.delete(id)
      for (let tries = 0; await run('delete', id) !== 0; tries++) {
        if (tries > 20) throw new Error('delete failed')
        if (tries > 1 && pid !== undefined) try { process.kill(pid, 'SIGKILL') } catch { /* it has ended */ }
      }
    },
    pid: async (id) => pids.get(id) ?? 0,
    signal: async (id) => { if (await run('kill', id, 'WINCH') !== 0) throw new Error('kill failed') },
    processes: async () => [],
    restart: undefined,
    listen: undefined
  }
  return engine
}
