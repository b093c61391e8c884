import { join } from 'node:path'
import { Exits, HttpClient, Server, command, processesWith, type Engine, type Kind, type Listener } from './engine.ts'

/** Its own default asks for more open files than some hosts allow. */
const limits = [{ type: 'NOFILE', soft: 1024, hard: 4096 }, { type: 'NPROC', soft: 4096, hard: 4096 }]

/** `podman system service` on directories of its own, over HTTP on its unix socket (the libpod API). */
export function podman (runtime: string, directory: string, image: () => Promise<Buffer>): Engine {
  const home = join(directory, 'podman')
  const socket = join(home, 'podman.sock')
  const exits = new Exits()
  let http = new HttpClient(socket)
  let server: Server | undefined
  let stopReading = (): void => {}
  const read = async (told: Exits): Promise<() => void> => {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['died'] }))
    return await http.stream(`/v4.0.0/libpod/events?stream=true&filters=${filters}`, '\n', (line) => told.tell((JSON.parse(line) as { Actor: { Attributes: { name: string } } }).Actor.Attributes.name))
  }
  const up = async (): Promise<void> => {
    server = await Server.spawn(home, 'podman', ['--root', join(home, 'root'), '--runroot', join(home, 'run'), '--tmpdir', join(home, 'tmp'), '--runtime', runtime, '--cgroup-manager', 'cgroupfs', '--events-backend', 'file', 'system', 'service', '--time', '0', `unix://${socket}`])
    await server.ready(async () => await http.call('GET', '/v4.0.0/libpod/_ping'))
  }
  const engine: Engine = {
    name: `podman (${runtime})`,
    notes: 'seccomp and a spec of its own, an overlay mount and a conmon for each container; no network; events in a file',
    start: async () => {
      await up()
      await http.call('POST', '/v4.0.0/libpod/images/import?reference=localhost/bench:1', await image())
      stopReading = await read(exits)
    },
    stop: async () => {
      stopReading()
      for (const { Id } of JSON.parse((await http.call('GET', '/v4.0.0/libpod/containers/json?all=true')).body) as { Id: string }[]) await http.call('DELETE', `/v4.0.0/libpod/containers/${Id}?force=true&timeout=0`)
      http.close()
      await server?.end()
    },
    version: async () => (JSON.parse((await http.call('GET', '/v4.0.0/libpod/version')).body) as { Version: string }).Version,
    create: async (id, kind) => { await http.call('POST', '/v4.0.0/libpod/containers/create', { name: id, image: 'localhost/bench:1', command: command[kind], netns: { nsmode: 'none' }, r_limits: limits }) },
    begin: async (id) => { await http.call('POST', `/v4.0.0/libpod/containers/${id}/start`) },
    launch: async (id, kind: Kind) => { await engine.create(id, kind); await engine.begin(id) },
    exited: async (id) => await exits.of(id),
    remove: async (id) => { await http.call('DELETE', `/v4.0.0/libpod/containers/${id}?force=true&timeout=0`) },
    pid: async (id) => (JSON.parse((await http.call('GET', `/v4.0.0/libpod/containers/${id}/json`)).body) as { State: { Pid: number } }).State.Pid,
    signal: async (id) => { await http.call('POST', `/v4.0.0/libpod/containers/${id}/kill?signal=SIGWINCH`) },
    processes: async () => await processesWith(home),
    restart: async () => {
      stopReading()
      await server?.end('SIGKILL')
      http.close()
      http = new HttpClient(socket)
      await up()
      await http.call('GET', '/v4.0.0/libpod/containers/json')
      stopReading = await read(exits)
    },
    listen: async (): Promise<Listener> => {
      const told = new Exits()
      return { close: await read(told), exited: async (id) => await told.of(id) }
    }
  }
  return engine
}
