import { readFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client, Metadata, credentials } from '@grpc/grpc-js'
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader'
import type { Engine, Exits, Kind } from './engine.ts'
import { processesWith } from './processes.ts'
import { serve } from './server.ts'

const namespace = new Metadata()
namespace.set('containerd-namespace', 'bench')

const messages = loadSync(join(import.meta.dirname, 'containerd.proto'), { defaults: true })

function codec (name: string): { encode: (value: object) => Buffer, decode: (bytes: Buffer) => object } {
  const found = messages[`containerd.${name}`] as MessageTypeDefinition<object, object>
  return { encode: (value) => found.serialize(value), decode: (bytes) => found.deserialize(bytes) }
}

/** containerd 1.6 with its shim v2, by gRPC; a task's root directory is the bundle's, bound. */
export function containerd (runtime: string, directory: string, bundles: Record<Kind, string>): Engine {
  const home = join(directory, 'containerd')
  const socket = join(home, 'c.sock')
  const pids = new Map<string, number>()
  let client: Client | undefined
  const specs = new Map<Kind, Buffer>()

  const call = async <T> (method: string, request: string, response: string, value: object): Promise<T> => await new Promise((resolve, reject) => {
    client?.makeUnaryRequest(`/containerd.services.${method}`, codec(request).encode, codec(response).decode, value, namespace, { deadline: Date.now() + 60_000 },
      (error, answer) => (error === null ? resolve(answer as T) : reject(error)))
  })
  const read = async (told: Exits): Promise<() => void> => {
    const envelope = codec('Envelope')
    const exit = codec('TaskExit')
    const stream = client?.makeServerStreamRequest('/containerd.services.events.v1.Events/Subscribe', codec('SubscribeRequest').encode, envelope.decode, { filters: ['topic=="/tasks/exit"'] }, namespace)
    stream?.on('data', ({ event }: { event: { value: Buffer } }) => told.tell((exit.decode(event.value) as { containerId: string }).containerId))
    stream?.on('error', () => {}) // it ends with the daemon
    return () => stream?.cancel()
  }
  const version = async (): Promise<string> => (await call<{ version: string }>('version.v1.Version/Version', 'Empty', 'VersionResponse', {})).version
  const remove = async (id: string): Promise<void> => {
    const deleted = async (): Promise<boolean> => await call('tasks.v1.Tasks/Delete', 'DeleteTaskRequest', 'DeleteResponse', { containerId: id }).then(() => true, () => false)
    // An exit event may come some milliseconds before the task can be deleted; what still runs is killed.
    for (let tries = 0; !await deleted(); tries++) {
      if (tries === 50) throw new Error('the task could not be deleted')
      await call('tasks.v1.Tasks/Kill', 'KillRequest', 'Empty', { containerId: id, signal: 9, all: true }).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, tries))
    }
    await call('containers.v1.Containers/Delete', 'DeleteContainerRequest', 'Empty', { id })
    pids.delete(id)
  }
  const create = async (id: string, kind: Kind): Promise<void> => {
    const options = runtime === 'runc' ? {} : { options: { typeUrl: 'containerd.runc.v1.Options', value: binaryName(runtime) } }
    await call('containers.v1.Containers/Create', 'CreateContainerRequest', 'CreateContainerResponse',
      { container: { id, runtime: { name: 'io.containerd.runc.v2', ...options }, spec: { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: specs.get(kind) } } })
    const rootfs = [{ type: 'bind', source: join(bundles[kind], 'rootfs'), options: ['rbind', 'ro'] }]
    const { pid } = await call<{ pid: number }>('tasks.v1.Tasks/Create', 'CreateTaskRequest', 'CreateTaskResponse', { containerId: id, rootfs })
    pids.set(id, pid)
  }
  const begin = async (id: string): Promise<void> => { await call('tasks.v1.Tasks/Start', 'StartRequest', 'StartResponse', { containerId: id }) }
  const served = serve({
    home,
    program: 'containerd',
    args: ['--config', join(home, 'config.toml')],
    connect: () => { client = new Client(`unix://${socket}`, credentials.createInsecure()) },
    disconnect: () => client?.close(),
    answers: async () => await version(),
    read,
    containers: async () => {
      const { tasks } = await call<{ tasks: { id: string, containerId: string }[] }>('tasks.v1.Tasks/List', 'ListTasksRequest', 'ListTasksResponse', {})
      return tasks.map(({ id, containerId }) => (containerId === '' ? id : containerId))
    },
    remove
  })
  return {
    ...served,
    name: 'containerd',
    notes: 'no seccomp, the same bundle; its root directory is bound for each task; events are not stored; its 100 readers share one connection',
    start: async () => {
      await mkdir(home, { recursive: true })
      await writeFile(join(home, 'config.toml'), `version = 2\nroot = "${home}/root"\nstate = "${home}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "${socket}"\n[ttrpc]\n  address = "${socket}.ttrpc"\n`)
      for (const kind of ['true', 'sleep'] as const) {
        const config = JSON.parse(await readFile(join(bundles[kind], 'config.json'), 'utf8')) as { root: { path: string } }
        config.root.path = 'rootfs'
        specs.set(kind, Buffer.from(JSON.stringify(config)))
      }
      await served.start()
    },
    version,
    create,
    begin,
    launch: async (id, kind) => { await create(id, kind); await begin(id) },
    remove,
    pid: async (id) => pids.get(id) ?? 0,
    signal: async (id) => { await call('tasks.v1.Tasks/Kill', 'KillRequest', 'Empty', { containerId: id, signal: 28 }) },
    signalRequest: undefined,
    signallers: async () => await processesWith(home),
    processes: async () => await processesWith(home)
  }
}

/** The shim's options (containerd.runc.v1.Options): field 6, binary_name. */
function binaryName (name: string): Buffer {
  const text = Buffer.from(name)
  return Buffer.concat([Buffer.from([(6 << 3) | 2, text.length]), text])
}
