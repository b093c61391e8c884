import { join } from 'node:path'
import { Exits, HttpClient, Server, command, processesWith, type Engine, type Kind, type Listener } from './engine.ts'

/** dockerd with its own containerd, on directories of its own, over HTTP on its unix socket (Docker Engine API). */
export function docker (runtime: string, directory: string, image: () => Promise<Buffer>): Engine {
  const home = join(directory, 'docker')
  const socket = join(home, 'docker.sock')
  const exits = new Exits()
  let http = new HttpClient(socket)
  let server: Server | undefined
  let stopReading = (): void => {}
  const names = new Map<string, string>()
  const read = async (told: Exits): Promise<() => void> => {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['die'] }))
    return await http.stream(`/events?filters=${filters}`, '\n', (line) => told.tell((JSON.parse(line) as { Actor: { Attributes: { name: string } } }).Actor.Attributes.name))
  }
  const up = async (): Promise<void> => {
    server = await Server.spawn(home, 'dockerd', ['--data-root', join(home, 'data'), '--exec-root', join(home, 'exec'), '--pidfile', join(home, 'pid'), '--host', `unix://${socket}`,
      '--bridge', 'none', '--iptables=false', '--ip6tables=false', '--live-restore', '--default-runtime', runtime === 'runc' ? 'runc' : 'other',
      ...(runtime === 'runc' ? [] : ['--add-runtime', `other=${runtime}`])])
    await server.ready(async () => await http.call('GET', '/_ping'))
  }
  const engine: Engine = {
    name: `docker (${runtime})`,
    notes: 'seccomp and a spec of its own, an overlay mount for each container; no network; live-restore on',
    start: async () => {
      await up()
      await http.call('POST', '/images/create?fromSrc=-&repo=bench&tag=1', await image())
      stopReading = await read(exits)
    },
    stop: async () => {
      stopReading()
      for (const { Id } of JSON.parse((await http.call('GET', '/containers/json?all=true')).body) as { Id: string }[]) await http.call('DELETE', `/containers/${Id}?force=true`)
      http.close()
      await server?.end()
    },
    version: async () => (JSON.parse((await http.call('GET', '/version')).body) as { Version: string }).Version,
    create: async (id, kind) => {
      const { body } = await http.call('POST', `/containers/create?name=${id}`, { Image: 'bench:1', Cmd: command[kind], HostConfig: { NetworkMode: 'none' } })
      names.set(id, (JSON.parse(body) as { Id: string }).Id)
    },
    begin: async (id) => { await http.call('POST', `/containers/${id}/start`) },
    launch: async (id, kind: Kind) => { await engine.create(id, kind); await engine.begin(id) },
    exited: async (id) => await exits.of(id),
    remove: async (id) => { await http.call('DELETE', `/containers/${id}?force=true`) },
    pid: async (id) => (JSON.parse((await http.call('GET', `/containers/${id}/json`)).body) as { State: { Pid: number } }).State.Pid,
    signal: async (id) => { await http.call('POST', `/containers/${id}/kill?signal=SIGWINCH`) },
    processes: async () => await processesWith(home),
    restart: async () => {
      stopReading()
      await server?.end('SIGKILL')
      http.close()
      http = new HttpClient(socket)
      // The first try may give up waiting for its containerd; a service manager would start it again, and so is it done here.
      await up().catch(up)
      await http.call('GET', '/containers/json')
      stopReading = await read(exits)
    },
    listen: async (): Promise<Listener> => {
      const told = new Exits()
      return { close: await read(told), exited: async (id) => await told.of(id) }
    }
  }
  return engine
}
