import { join } from 'node:path'
import { type Engine, type Exits, type Kind } from './engine.ts'
import { HttpClient } from './http-client.ts'
import { processesWith } from './processes.ts'
import { serve } from './server.ts'

/** Where docker's API and podman's, which was made after it, differ. */
export type ImageEngine = {
  name: string
  notes: string
  home: string
  program: string
  /** its arguments, for a socket at this path */
  args: (socket: string) => string[]
  /** what the paths of its API begin with */
  prefix: string
  ping: string
  /** the path that makes an image `bench:1` of a root directory as a tar */
  importImage: string
  /** the event of an exit, and what the stream of events is asked with */
  exitEvent: string
  eventsQuery: string
  /** method and body of the creation of a container with this name */
  create: (id: string, kind: Kind) => { path: string, body: object }
  /** what a forced removal is asked with */
  removeQuery: string
}

/** An engine that makes containers of images and is spoken to over HTTP on a unix socket. */
export function imageEngine (differs: ImageEngine, image: () => Promise<Buffer>): Engine {
  const socket = join(differs.home, 'api.sock')
  const api = (path: string): string => `${differs.prefix}${path}`
  let http = new HttpClient(socket)
  const remove = async (id: string): Promise<void> => { await http.call('DELETE', api(`/containers/${id}?${differs.removeQuery}`)) }
  const read = async (told: Exits): Promise<() => void> => {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: [differs.exitEvent] }))
    return await http.stream(api(`/events?${differs.eventsQuery}filters=${filters}`), '\n', (line) => told.tell((JSON.parse(line) as { Actor: { Attributes: { name: string } } }).Actor.Attributes.name))
  }
  const create = async (id: string, kind: Kind): Promise<void> => {
    const { path, body } = differs.create(id, kind)
    await http.call('POST', api(path), body)
  }
  const begin = async (id: string): Promise<void> => { await http.call('POST', api(`/containers/${id}/start`)) }
  return {
    ...serve({
      home: differs.home,
      program: differs.program,
      args: differs.args(socket),
      connect: () => { http = new HttpClient(socket) },
      disconnect: () => http.close(),
      answers: async () => await http.call('GET', api(differs.ping)),
      prepare: async () => { await http.call('POST', api(differs.importImage), await image()) },
      read,
      containers: async () => (await http.get<{ Id: string }[]>(api('/containers/json?all=true'))).map(({ Id }) => Id),
      remove
    }),
    name: differs.name,
    notes: differs.notes,
    version: async () => (await http.get<{ Version: string }>(api('/version'))).Version,
    create,
    begin,
    launch: async (id, kind) => { await create(id, kind); await begin(id) },
    remove,
    pid: async (id) => (await http.get<{ State: { Pid: number } }>(api(`/containers/${id}/json`))).State.Pid,
    signal: async (id) => { await http.call('POST', api(`/containers/${id}/kill?signal=SIGWINCH`)) },
    signalRequest: (id) => ({ socketPath: socket, path: api(`/containers/${id}/kill?signal=SIGWINCH`) }),
    signallers: async () => await processesWith(differs.home),
    processes: async () => await processesWith(differs.home)
  }
}
