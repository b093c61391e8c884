import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'
import type { ExitView, ProcessView } from '../schemas/index.ts'
import type { OciProcess } from './bundle.ts'
import type { ExitFacts } from './exit.ts'
import { removeTree, writeWhole } from './files.ts'
import type { ShimProcess } from './shim-processes.ts'

const recordVersion = 1

/** What process.json holds, in the directory of a process that was executed beside init. */
export type ProcessRecord = {
  version: typeof recordVersion
  id: string
  spec: OciProcess
  /** creating: nobody has been told of it; running, stopped: as the event stream said last */
  phase: 'creating' | 'running' | 'stopped'
  pid: number | null
  startedAt: string | null
  exit: ExitView | null
}

/** One process of a container: its init, or one that was executed in it later. The same constructor for a new one and for one found on disk. */
export class Process {
  readonly id: string
  readonly spec: OciProcess
  /** where its output and records are; undefined for init, whose record is the container's */
  readonly directory: string | undefined
  pid: number | null = null
  status: 'created' | 'running' | 'stopped' = 'created'
  startedAt: string | null = null
  exit: ExitView | null = null
  /** what was seen of its end, before the journal has it */
  ended: ExitFacts | undefined
  /** the last signal that was asked for, and by which request */
  asked: { signal: number, requestId: string | undefined } | undefined
  /** of one beside init: its place in the shim */
  handle: ShimProcess | undefined
  /** init has ended before this one came to be started */
  cancelled = false
  /** resolves when its exit has been told, or it never came to run */
  readonly over: Promise<void>
  settle: () => void = () => {}
  /** resolves when it has been told to run, or never came to */
  readonly begun: Promise<void>
  begin: () => void = () => {}
  #writing: Promise<void> = Promise.resolve()
  /** its directory was made once: whoever removes it, with all of the container it may be, means it */
  #made: boolean

  constructor (id: string, spec: OciProcess, directory?: string, record?: ProcessRecord) {
    this.id = id
    this.spec = spec
    this.directory = directory
    this.begun = new Promise((resolve) => { this.begin = resolve })
    this.over = new Promise((resolve) => {
      this.settle = () => {
        this.begin()
        resolve()
      }
    })
    this.#made = record !== undefined
    if (record === undefined) return
    this.pid = record.pid
    this.startedAt = record.startedAt
    this.exit = record.exit
    this.status = record.phase === 'creating' ? 'created' : record.phase
    if (record.exit !== null) this.settle()
  }

  static parse (text: string, directory: string): Process {
    const record = JSON.parse(text) as ProcessRecord
    if (record.version !== recordVersion) throw new Error(`process.json is of version ${String(record.version)}`)
    return new Process(record.id, record.spec, directory, record)
  }

  get isInit (): boolean {
    return this.id === 'init'
  }

  /** The shim's slot that has its log, its input and its terminal (Shim.follow, input, resize); undefined when that is another's by now, and the log ended. */
  get slot (): number | undefined {
    if (this.isInit) return 0
    return this.handle === undefined || this.handle.freed ? undefined : this.handle.slot
  }

  /** Writes process.json, after what is being written; nothing once its directory has been removed. Only for one beside init. */
  save (): Promise<void> {
    const { directory } = this
    if (directory === undefined) return Promise.resolve()
    this.#writing = this.#writing.catch(() => {}).then(async () => {
      const record: ProcessRecord = {
        version: recordVersion,
        id: this.id,
        spec: this.spec,
        phase: this.status === 'created' ? 'creating' : this.status,
        pid: this.pid,
        startedAt: this.startedAt,
        exit: this.exit
      }
      if (!this.#made) await mkdir(directory, { recursive: true, mode: 0o700 })
      const again = this.#made
      this.#made = true
      await writeWhole(join(directory, 'process.json'), JSON.stringify(record)).catch((error: unknown) => {
        if (!again || !hasCode(error, 'ENOENT')) throw error
      })
    })
    return this.#writing
  }

  /** Removes all that is kept of one beside init. */
  async forget (): Promise<void> {
    await this.#writing.catch(() => {})
    if (this.directory !== undefined) await removeTree(this.directory)
  }

  view (): ProcessView {
    const { args, env, cwd, user, terminal } = this.spec
    return {
      id: this.id,
      pid: this.status === 'stopped' ? null : this.pid,
      args: args ?? [],
      env: env ?? [],
      cwd: cwd ?? '/',
      user: { uid: user?.uid ?? 0, gid: user?.gid ?? 0, additionalGids: user?.additionalGids ?? [] },
      terminal: terminal ?? false,
      status: this.status,
      startedAt: this.startedAt,
      exit: this.exit
    }
  }
}
