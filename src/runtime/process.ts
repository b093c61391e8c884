import type { ExitView, ProcessView } from '../schemas/index.ts'
import type { OciProcess } from './bundle.ts'
import type { ExitFacts } from './exit.ts'

/** One process of a container: its init, or one that was executed in it later. */
export class Process {
  readonly id: string
  readonly spec: OciProcess
  pid: number | null = null
  /** its slot in the shim of its run; undefined once the shim has nothing of it any more */
  slot: number | undefined
  status: 'created' | 'running' | 'stopped' = 'created'
  startedAt: string | null = null
  exit: ExitView | null = null
  /** what was seen of its end, before the journal has it */
  ended: ExitFacts | undefined

  constructor (id: string, spec: OciProcess) {
    this.id = id
    this.spec = spec
    if (this.isInit) this.slot = 0
  }

  get isInit (): boolean {
    return this.id === 'init'
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
