import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export const project = resolve(import.meta.dirname, '../..')

export type Reply = { status: number, headers: http.IncomingHttpHeaders, text: string, body: any } // any: the wire, as a client without types sees it

export type SseEvent = { id: string, event: string, data: any } // any: as above

/** A bundle with a static busybox; `command` is what init runs. */
export async function makeBundle (directory: string, command: string[], change: (config: any) => void = () => {}): Promise<string> { // any: config.json is the test's to bend
  const rootfs = join(directory, 'rootfs')
  for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc']) await mkdir(join(rootfs, name), { recursive: true })
  await copyFile('/bin/busybox', join(rootfs, 'bin/busybox'))
  await chmod(join(rootfs, 'bin/busybox'), 0o755)
  for (const name of ['sh', 'sleep', 'true', 'false', 'echo', 'cat', 'kill', 'dd', 'tail', 'head', 'yes', 'ls', 'env', 'id', 'touch']) {
    await symlink('busybox', join(rootfs, 'bin', name)).catch(() => {})
  }
  const config = {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: command,
      env: ['PATH=/bin', 'HOME=/'],
      cwd: '/',
      capabilities: Object.fromEntries(['bounding', 'effective', 'permitted'].map((set) => [set, ['CAP_KILL', 'CAP_SETUID', 'CAP_SETGID']])),
      noNewPrivileges: true
    },
    root: { path: 'rootfs', readonly: false },
    hostname: 'box',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] }
    ],
    linux: { namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, { type: 'network' }], resources: { devices: [{ allow: false, access: 'rwm' }] } }
  }
  change(config)
  await writeFile(join(directory, 'config.json'), JSON.stringify(config, null, 2))
  return directory
}

export const trap = (status: number): string[] => ['/bin/sh', '-c', `trap 'exit ${status}' TERM; while :; do sleep 1 & wait; done`]

/** One reader of the event stream, over its own connection. */
export class EventReader {
  readonly events: SseEvent[] = []
  readonly request: http.ClientRequest
  comments = 0
  ended = false
  onEvent: (event: SseEvent) => void = () => {}
  #waiting: { match: (event: SseEvent) => boolean, resolve: (event: SseEvent) => void }[] = []

  constructor (socketPath: string, path: string, headers: Record<string, string> = {}) {
    this.request = http.get({ socketPath, path, headers: { accept: 'text/event-stream', ...headers }, agent: false })
    this.request.on('error', () => { this.ended = true })
  }

  async open (): Promise<this> {
    const [response] = await once(this.request, 'response') as [http.IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`event stream answered ${response.statusCode}`)
    let rest = ''
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      rest += chunk
      for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
        this.#block(rest.slice(0, end))
        rest = rest.slice(end + 2)
      }
    })
    response.on('close', () => { this.ended = true })
    return this
  }

  #block (block: string): void {
    const event: SseEvent = { id: '', event: 'message', data: undefined }
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) this.comments++
      if (line.startsWith('id: ')) event.id = line.slice(4)
      if (line.startsWith('event: ')) event.event = line.slice(7)
      if (line.startsWith('data: ')) event.data = JSON.parse(line.slice(6))
    }
    if (event.data === undefined) return
    this.events.push(event)
    this.onEvent(event)
    this.#waiting = this.#waiting.filter((waiting) => {
      if (!waiting.match(event)) return true
      waiting.resolve(event)
      return false
    })
  }

  /** The first event, seen already or still to come, that matches. */
  async next (match: (event: SseEvent) => boolean, seconds = 60): Promise<SseEvent> {
    const seen = this.events.find(match)
    if (seen !== undefined) return seen
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no such event; seen: ${this.events.map(({ event, data }) => `${event}(${data.containerId})`).join(' ')}`)), seconds * 1000)
      this.#waiting.push({ match, resolve: (event) => { clearTimeout(timer); resolve(event) } })
    })
  }

  async type (event: string, containerId?: string): Promise<SseEvent> {
    return await this.next((one) => one.event === event && (containerId === undefined || one.data.containerId === containerId))
  }

  types (containerId: string): string[] {
    return this.events.filter(({ data }) => data.containerId === containerId).map(({ event }) => event)
  }

  close (): void {
    this.request.destroy()
  }
}

export class Daemon {
  readonly directory: string
  readonly root: string
  readonly state: string
  readonly socket: string
  /** what is started; another tree's for a comparison */
  program = join(project, 'bin/longshored')
  child: ChildProcess | undefined
  output = ''
  /** a program that the daemon is started through; it has to exec what it is given */
  through: string[] = []
  readonly agent = new http.Agent({ keepAlive: true, maxSockets: 64 })

  private constructor (directory: string) {
    this.directory = directory
    this.root = join(directory, 'root')
    this.state = join(directory, 'state')
    this.socket = join(this.state, 'longshore.sock')
  }

  /** The directories, without a daemon yet. */
  static async prepare (): Promise<Daemon> {
    return new Daemon(await mkdtemp(join(tmpdir(), 'longshore-')))
  }

  static async start (args: string[] = [], env: Record<string, string> = {}): Promise<Daemon> {
    const daemon = await Daemon.prepare()
    await daemon.launch(args, env)
    return daemon
  }

  async launch (args: string[] = [], env: Record<string, string> = {}): Promise<void> {
    const [program = '', ...before] = [...this.through, this.program]
    const child = spawn(program, [...before, '--root', this.root, '--state', this.state, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env }
    })
    this.child = child
    child.stdout.on('data', (chunk: Buffer) => { this.output += chunk.toString() })
    child.stderr.on('data', (chunk: Buffer) => { this.output += chunk.toString() })
    const deadline = Date.now() + 60_000
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`longshored ended: ${this.output}`)
      const ready = await this.get('/readyz').then(({ status }) => status === 200, () => false)
      if (ready) return
      if (Date.now() > deadline) throw new Error(`longshored is not ready: ${this.output}`)
      // Nothing to await yet: the socket itself is what is being waited for.
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async request (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
    return await new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: this.socket,
        agent: this.agent,
        method,
        path,
        headers: { ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }), ...headers }
      }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => { text += chunk })
        response.on('error', reject)
        response.on('end', () => {
          let parsed: unknown
          try { parsed = JSON.parse(text) } catch { parsed = undefined }
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: parsed })
        })
      })
      request.on('error', reject)
      request.end(payload)
    })
  }

  async get (path: string, headers?: Record<string, string>): Promise<Reply> {
    return await this.request('GET', path, undefined, headers)
  }

  async post (path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply> {
    return await this.request('POST', path, body ?? {}, headers)
  }

  async delete (path: string): Promise<Reply> {
    return await this.request('DELETE', path)
  }

  async events (query = 'from=now', headers: Record<string, string> = {}): Promise<EventReader> {
    return await new EventReader(this.socket, `/events?${query}`, headers).open()
  }

  async bundle (name: string, command: string[], change?: (config: any) => void): Promise<string> { // any: see makeBundle
    return await makeBundle(join(this.directory, 'bundles', name), command, change)
  }

  /** Waits until the container's command has set its trap for SIGTERM: an init without a handler does not hear it. */
  async trapped (id: string): Promise<void> {
    for (let pid = 0; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
      pid ||= (await this.get(`/containers/${id}`)).body.pid ?? 0
      const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1]
      // Bits are numbered from signal 1 on (proc(5)); Go's runtime, which init is before, catches nearly all, SIGUSR1 among them.
      const bits = BigInt(`0x${caught ?? '0'}`)
      if ((bits & (1n << 14n)) !== 0n && (bits & (1n << 9n)) === 0n) return
    }
  }

  /** SIGTERM (or another signal), and its end. */
  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const { child } = this
    if (child === undefined) return null
    this.child = undefined
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit')
      child.kill(signal)
      await exited
    }
    return child.exitCode
  }

  /** Ends what is left and removes the directory; returns what was left behind of runs. */
  async destroy (): Promise<void> {
    // A test that failed after it had killed its daemon leaves containers that only another daemon can end.
    const dead = this.child === undefined || this.child.exitCode !== null || this.child.signalCode !== null
    if (dead && (await this.shims()).length > 0) await this.launch().catch(() => {})
    if (this.child !== undefined) {
      const list = await this.get('/containers?limit=1000').catch(() => undefined)
      await Promise.all((list?.body?.items ?? []).map(async ({ id }: { id: string }) => await this.delete(`/containers/${id}?force=true`).catch(() => {})))
      await this.stop()
    }
    this.agent.destroy()
    await rm(this.directory, { recursive: true, force: true })
  }

  get pid (): number {
    return this.child?.pid ?? 0
  }

  /** Processes of shims of this daemon, from /proc. */
  async shims (): Promise<number[]> {
    const found: number[] = []
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue
      const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
      if (line.includes('longshore-shim') && line.includes(this.root)) found.push(Number(name))
    }
    return found
  }
}

/** Starts a program in a mount namespace of its own, in which /sys/fs/cgroup is the v2 hierarchy alone, whatever the machine has. */
export const onCgroup2 = ['unshare', '--mount', 'sh', '-c', 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', 'sh']
