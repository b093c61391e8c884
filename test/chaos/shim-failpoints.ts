/** Containers whose shims end by themselves at one step each, while a daemon is there and while none is; what comes of it is held against the model. */
import { mkdir, readFile, readdir, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { project, trap, type Daemon } from '../support/daemon.ts'
import { groupsOf } from '../support/faulty.ts'
import { leftBehind, marker } from './chaos.ts'
import { check, type Fault, type Operation, type Verdict } from './checker.ts'
import { Follower, wholeJournal } from './follower.ts'

/** A shim with all its steps, as `make -C src/native failpoints` builds it. */
export const failingShim = join(project, 'build/failpoints/longshore-shim')

/** what init ends with on SIGTERM, and each process beside it */
const initStatus = 6
const execStatus = 3

export type Story = { step: string, reached: boolean, answers: string[], exit: unknown, execExit: unknown, types: string[] }

export class ShimFailpoints {
  readonly daemon: Daemon
  readonly #seed: number
  readonly #operations: Operation[] = []
  readonly #follower = new Follower()
  readonly #steps = new Map<string, string>()
  #descriptors = 0

  constructor (daemon: Daemon, seed: number) {
    this.daemon = daemon
    this.#seed = seed
  }

  async begin (): Promise<void> {
    await this.#launch()
    await this.#follower.connect(this.daemon)
    this.#descriptors = await this.#held()
  }

  async restart (): Promise<void> {
    await this.#launch()
    await this.#follower.connect(this.daemon)
  }

  async #launch (): Promise<void> {
    await this.daemon.launch(['--start-timeout', '10'], { LONGSHORE_SHIM: failingShim })
  }

  async ask (verb: string, step: string, method: string, path: string, body?: unknown): Promise<Operation> {
    const operation: Operation = { verb, id: step, ...(verb === 'exec' ? { processId: 'beside' } : {}) }
    this.#operations.push(operation)
    const { status, body: answer } = await this.daemon.request(method, path, body)
    operation.answer = { status, body: answer }
    return operation
  }

  async arm (step: string): Promise<void> {
    await writeFile(join(this.daemon.directory, 'bundles', step, 'failpoints', step), '')
  }

  async create (step: string, start: boolean): Promise<Operation> {
    return await this.ask('create', step, 'POST', '/containers', { id: step, bundle: this.#steps.get(step), start })
  }

  async prepare (step: string): Promise<void> {
    const bundle = await this.daemon.bundle(step, trap(initStatus), (config) => config.process.env.push(`${marker}=${this.#seed}`))
    await mkdir(join(bundle, 'failpoints'))
    this.#steps.set(step, bundle)
  }

  async exec (step: string): Promise<Operation> {
    return await this.ask('exec', step, 'POST', `/containers/${step}/processes`, { id: 'beside', args: ['/bin/sh', '-c', `trap 'exit ${execStatus}' TERM; while :; do sleep 1 & wait; done`], env: ['PATH=/bin', `${marker}=${this.#seed}`] })
  }

  /** Of a process that was executed: it has set its trap. */
  async trapped (step: string): Promise<void> {
    const { body } = await this.daemon.get(`/containers/${step}/processes/beside`)
    for (;;) {
      const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(await readFile(`/proc/${body.pid}/status`, 'utf8').catch(() => ''))?.[1]
      if ((BigInt(`0x${caught ?? '0'}`) & (1n << 14n)) !== 0n) return
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** Removes all, and tells of each container what it went through. Whatever is wrong with any of it is in the verdict. */
  async end (): Promise<{ verdict: Verdict, stories: Map<string, Story>, runtimeIds: string[] }> {
    const { daemon } = this
    for (const step of this.#steps.keys()) await this.ask('get', step, 'GET', `/containers/${step}`)
    await Promise.all([...this.#steps.keys()].map(async (step) => {
      const { answer } = await this.ask('delete', step, 'DELETE', `/containers/${step}?force=true`)
      if (answer?.status !== 204 && answer?.status !== 404) throw new Error(`${step} could not be deleted: ${JSON.stringify(answer)}`)
    }))
    const journal = await wholeJournal(daemon)
    const last = journal.at(-1)
    if (last !== undefined) await this.#follower.reach(last.id)
    this.#follower.close()
    const runs = new Map(journal.flatMap(({ runId, containerId }) => (runId === undefined ? [] : [[runId, containerId] as const])))
    const faults: Fault[] = [...runs.keys()].map((runId) => ({ kind: 'shim', runId }))
    const runtimeIds = [...runs].map(([runId, id]) => `${id}.${runId}`)
    const leftovers = [...await leftBehind(daemon, this.#seed), ...await groupsOf(runtimeIds)]
    const held = await this.#settled()
    if (held > this.#descriptors) leftovers.push(`${held - this.#descriptors} descriptors of processes, groups and runs in the daemon`)
    const verdict = check({ journal, readers: [this.#follower.seen], operations: this.#operations, faults, ownStatus: (_id, processId) => (processId === 'init' ? initStatus : execStatus), leftovers })
    const stories = new Map<string, Story>()
    for (const step of this.#steps.keys()) {
      const own = journal.filter(({ containerId }) => containerId === step)
      const armed = await readdir(join(daemon.directory, 'bundles', step, 'failpoints'))
      stories.set(step, {
        step,
        reached: armed.length === 0,
        answers: this.#operations.filter(({ id }) => id === step).map(({ verb, answer }) => `${verb} ${answer?.status ?? '-'}`),
        exit: own.find(({ exit, processId }) => exit !== undefined && (processId ?? 'init') === 'init')?.exit,
        execExit: own.find(({ exit, processId }) => exit !== undefined && processId === 'beside')?.exit,
        types: own.map(({ type, processId }) => (processId === 'beside' ? `${type}(beside)` : type))
      })
    }
    return { verdict, stories, runtimeIds }
  }

  /** What the daemon holds open for containers: all that may come and go otherwise is left out. */
  async #held (): Promise<number> {
    const directory = `/proc/${this.daemon.pid}/fd`
    const links = await Promise.all((await readdir(directory)).map(async (name) => await readlink(join(directory, name)).catch(() => '')))
    return links.filter((link) => /pidfd|eventfd|cgroup/.test(link) || link.startsWith(join(this.daemon.state, 'runs')) || link.startsWith(join(this.daemon.root, 'containers'))).length
  }

  async #settled (): Promise<number> {
    let held = await this.#held()
    for (let tries = 0; tries < 50 && held > this.#descriptors; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      held = await this.#held()
    }
    return held
  }
}
