import { join } from 'node:path'
import { command, type Engine } from './engine.ts'
import { imageEngine } from './images.ts'

/** Its own default asks for more open files than some hosts allow. */
const limits = [{ type: 'NOFILE', soft: 1024, hard: 4096 }, { type: 'NPROC', soft: 4096, hard: 4096 }]

/** `podman system service` on directories of its own, over HTTP on its unix socket (the libpod API). */
export function podman (runtime: string, directory: string, image: () => Promise<Buffer>): Engine {
  const home = join(directory, 'podman')
  return imageEngine({
    name: 'podman',
    notes: 'seccomp and a spec of its own, an overlay mount and a conmon for each container; no network; events in a file, which it reads over and over',
    home,
    program: 'podman',
    args: (socket) => ['--root', join(home, 'root'), '--runroot', join(home, 'run'), '--tmpdir', join(home, 'tmp'), '--runtime', runtime, '--cgroup-manager', 'cgroupfs',
      '--events-backend', 'file', 'system', 'service', '--time', '0', `unix://${socket}`],
    prefix: '/v4.0.0/libpod',
    ping: '/_ping',
    importImage: '/images/import?reference=localhost/bench:1',
    exitEvent: 'died',
    eventsQuery: 'stream=true&',
    create: (id, kind) => ({ path: '/containers/create', body: { name: id, image: 'localhost/bench:1', command: command[kind], netns: { nsmode: 'none' }, r_limits: limits } }),
    removeQuery: 'force=true&timeout=0'
  }, image)
}
