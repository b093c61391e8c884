import { join } from 'node:path'
import { project } from '../../test/support/daemon.ts'
import { Exits, HttpClient, Server, processesWith, type Engine, type Kind, type Listener } from './engine.ts'

/** longshore itself, over HTTP on its unix socket and its event stream. */
export function longshore (runtime: string, directory: string, bundles: Record<Kind, string>): Engine {
  const home = join(directory, 'longshore')
  const state = join(home, 'state')
  const socket = join(state, 'longshore.sock')
  const exits = new Exits()
  let http = new HttpClient(socket)
  let server: Server | undefined
  let stopReading = (): void => {}
  const read = async (told: Exits): Promise<() => void> => await http.stream('/events?from=now&type=StateExit', '\n\n', (frame) => {
    const data = /^data: (.*)$/m.exec(frame)?.[1]
    if (data !== undefined && frame.includes('event: StateExit')) told.tell((JSON.parse(data) as { containerId: string }).containerId)
  }, 'text/event-stream')
  const up = async (): Promise<void> => {
    server = await Server.spawn(home, join(project, 'bin/longshored'), ['--root', join(home, 'root'), '--state', state, '--runtime', runtime, '--log-level', 'warn'])
    await server.ready(async () => await http.call('GET', '/readyz'))
  }
  return {
    name: `longshore (${runtime})`,
    notes: 'every event is in a journal before it is told; output is kept; seccomp as in the bundle (none)',
    start: async () => {
      await up()
      stopReading = await read(exits)
    },
    stop: async () => {
      stopReading()
      const { items } = JSON.parse((await http.call('GET', '/containers?limit=1000')).body) as { items: { id: string }[] }
      for (const { id } of items) await http.call('DELETE', `/containers/${id}?force=true`)
      await server?.end()
      http.close()
    },
    version: async () => (JSON.parse((await http.call('GET', '/version')).body) as { version: string }).version,
    create: async (id, kind) => { await http.call('POST', '/containers', { id, bundle: bundles[kind], start: false }) },
    begin: async (id) => { await http.call('POST', `/containers/${id}/start`, {}) },
    launch: async (id, kind) => { await http.call('POST', '/containers', { id, bundle: bundles[kind] }) },
    exited: async (id) => await exits.of(id),
    remove: async (id) => { await http.call('DELETE', `/containers/${id}?force=true`) },
    pid: async (id) => (JSON.parse((await http.call('GET', `/containers/${id}`)).body) as { pid: number }).pid,
    signal: async (id) => { await http.call('POST', `/containers/${id}/signal`, { signal: 'SIGWINCH' }) },
    processes: async () => [...(server?.child.pid === undefined ? [] : [server.child.pid]), ...(await processesWith(join(home, 'root'))).filter((pid) => pid !== server?.child.pid)],
    restart: async () => {
      stopReading()
      await server?.end('SIGKILL')
      http.close()
      http = new HttpClient(socket)
      await up()
      stopReading = await read(exits)
    },
    listen: async (): Promise<Listener> => {
      const told = new Exits()
      return { close: await read(told), exited: async (id) => await told.of(id) }
    }
  }
}
