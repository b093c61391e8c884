import { join } from 'node:path'
import { command, type Engine } from './engine.ts'
import { imageEngine } from './images.ts'

/** dockerd with its own containerd, on directories of its own, over HTTP on its unix socket (Docker Engine API). */
export function docker (runtime: string, directory: string, image: () => Promise<Buffer>): Engine {
  const home = join(directory, 'docker')
  return imageEngine({
    name: 'docker',
    notes: 'seccomp and a spec of its own, an overlay mount for each container; no network; live-restore on; after a kill its first start gives up waiting for its containerd after 15 s, the second one is counted with it',
    home,
    program: 'dockerd',
    args: (socket) => ['--data-root', join(home, 'data'), '--exec-root', join(home, 'exec'), '--pidfile', join(home, 'pid'), '--host', `unix://${socket}`,
      '--bridge', 'none', '--iptables=false', '--ip6tables=false', '--live-restore',
      ...(runtime === 'runc' ? [] : ['--add-runtime', `other=${runtime}`, '--default-runtime', 'other'])],
    prefix: '',
    ping: '/_ping',
    importImage: '/images/create?fromSrc=-&repo=bench&tag=1',
    exitEvent: 'die',
    eventsQuery: '',
    create: (id, kind) => ({ path: `/containers/create?name=${id}`, body: { Image: 'bench:1', Cmd: command[kind], HostConfig: { NetworkMode: 'none' } } }),
    removeQuery: 'force=true'
  }, image)
}
