import { join } from 'node:path'
import { project } from '../../test/support/daemon.ts'
import type { Engine, Exits, Kind } from './engine.ts'
import { HttpClient } from './http-client.ts'
import { processesWith } from './processes.ts'
import { serve } from './server.ts'

/** longshore itself, over HTTP on its unix socket and its event stream. */
export function longshore (runtime: string, directory: string, bundles: Record<Kind, string>, more: string[] = []): Engine & { http: () => HttpClient, socket: string, daemonPid: () => number } {
  const home = join(directory, 'longshore')
  const root = join(home, 'root')
  const state = join(home, 'state')
  const socket = join(state, 'longshore.sock')
  let http = new HttpClient(socket)
  const remove = async (id: string): Promise<void> => { await http.call('DELETE', `/containers/${id}?force=true`) }
  const read = async (told: Exits): Promise<() => void> => await http.stream('/events?from=now&type=StateExit', '\n\n', (frame) => {
    const data = /^data: (.*)$/m.exec(frame)?.[1]
    if (data !== undefined && frame.includes('event: StateExit')) told.tell((JSON.parse(data) as { containerId: string }).containerId)
  }, 'text/event-stream')
  const served = serve({
    home,
    program: join(project, 'bin/longshored'),
    args: ['--root', root, '--state', state, '--runtime', runtime, '--log-level', 'warn', ...more],
    connect: () => { http = new HttpClient(socket) },
    disconnect: () => http.close(),
    answers: async () => await http.call('GET', '/readyz'),
    read,
    containers: async () => {
      const ids: string[] = []
      for (let cursor = ''; ;) {
        const { items, nextCursor } = await http.get<{ items: { id: string }[], nextCursor?: string | null }>(`/containers?limit=1000${cursor}`)
        ids.push(...items.map(({ id }) => id))
        if (nextCursor === undefined || nextCursor === null) return ids
        cursor = `&cursor=${encodeURIComponent(nextCursor)}`
      }
    },
    remove
  })
  return {
    ...served,
    socket,
    http: () => http,
    daemonPid: () => served.pid() ?? 0,
    name: 'longshore',
    notes: 'every event is in a journal before it is told; output is kept; seccomp as in the bundle (none)',
    version: async () => (await http.get<{ version: string }>('/version')).version,
    create: async (id, kind) => { await http.call('POST', '/containers', { id, bundle: bundles[kind], start: false }) },
    begin: async (id) => { await http.call('POST', `/containers/${id}/start`, {}) },
    launch: async (id, kind) => { await http.call('POST', '/containers', { id, bundle: bundles[kind] }) },
    remove,
    pid: async (id) => (await http.get<{ pid: number }>(`/containers/${id}`)).pid,
    signal: async (id) => { await http.call('POST', `/containers/${id}/signal`, { signal: 'SIGWINCH' }) },
    signalRequest: (id) => ({ socketPath: socket, path: `/containers/${id}/signal`, body: '{"signal":"SIGWINCH"}' }),
    signallers: async () => [served.pid() ?? 0],
    // The shims have the root directory in their command line, as the daemon has.
    processes: async () => await processesWith(root)
  }
}
