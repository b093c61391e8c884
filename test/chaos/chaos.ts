/**
 * Random clients on a daemon that is killed at random moments, with its shims, inits and runtimes; everything that was
 * asked, answered and told is held against the model in checker.ts. On the command line:
 *
 *   node test/chaos/chaos.ts [--seed N] [--kills N] [--containers N] [--clients N]
 */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { EventView } from '../../src/schemas/index.ts'
import { Daemon, EventReader } from '../support/daemon.ts'
import { check, type Fault, type Operation, type Verdict } from './checker.ts'

export type ChaosOptions = { seed: number, kills: number, containers: number, clients: number, log?: (line: string) => void, args?: string[] }
export type ChaosReport = { seed: number, rounds: number, seconds: number, faults: Record<string, number>, operations: number, unanswered: number, events: number, runs: number, verdict: Verdict, output: string }

/** mulberry32: small, and the same everywhere. */
export function random (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Of which kind a container is goes by its number: some end by themselves, soon or later, some only when they are told. */
const kinds = [
  { status: 0, command: ['/bin/true'] },
  { status: 7, command: ['/bin/sh', '-c', 'sleep 0.3; exit 7'] },
  { status: 42, command: ['/bin/sh', '-c', "trap 'exit 42' TERM; while :; do sleep 0.2 & wait; done"], told: true },
  { status: null, command: ['/bin/sleep', '10000'] },
  { status: 3, command: ['/bin/sh', '-c', 'sleep 0.1 & sleep 0.2; exit 3'] }
]
const kindOf = (id: string): (typeof kinds)[number] => kinds[Number(id.slice(1)) % kinds.length] as (typeof kinds)[number]

/** in the environment of every process of a container, with the seed */
export const marker = 'LONGSHORE_CHAOS'

/** A reader of the stream that comes back with its last id, however often it is cut off. */
export class Follower {
  readonly seen: EventView[] = []
  #last = ''
  #reader: EventReader | undefined

  async connect (daemon: Daemon): Promise<void> {
    this.#reader?.close()
    const reader = new EventReader(daemon.socket, '/events?from=earliest', this.#last === '' ? {} : { 'last-event-id': this.#last })
    reader.onEvent = ({ id, event, data }) => {
      if (id === '') return
      if (event === 'Gap') throw new Error(`a gap: ${JSON.stringify(data)}`)
      this.#last = id
      this.seen.push(data as EventView)
    }
    this.#reader = reader
    await reader.open()
  }

  async reach (id: string): Promise<void> {
    await this.#reader?.next((event) => event.id === id)
  }

  close (): void {
    this.#reader?.close()
  }
}

export async function chaos ({ seed, kills, containers, clients, log = () => {}, args = [] }: ChaosOptions): Promise<ChaosReport> {
  const began = performance.now()
  const dice = random(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(dice() * list.length)] as T
  const pause = async (milliseconds: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, milliseconds))
  const operations: Operation[] = []
  const faults: Fault[] = []
  const daemon = await Daemon.start(['--log-level', 'warn', ...args])
  let ended = false
  try {
    const bundles = new Map<string, string>()
    for (const [index, { command }] of kinds.entries()) {
      bundles.set(`kind${index}`, await daemon.bundle(`kind${index}`, command, (config) => config.process.env.push(`${marker}=${seed}`)))
    }
    const follower = new Follower()
    await follower.connect(daemon)

    const operate = async (operation: Operation, method: string, path: string, body?: unknown): Promise<Operation> => {
      operations.push(operation)
      try {
        const { status, body: answer } = await daemon.request(method, path, body)
        operation.answer = { status, body: answer }
        if (status === 503) await pause(20)
      } catch {
        // The daemon went away under it.
        await pause(20)
      }
      return operation
    }
    const client = async (): Promise<void> => {
      while (!ended) {
        const id = `c${Math.floor(dice() * containers)}`
        const verb = pick(['create', 'create', 'create', 'start', 'signal', 'stop', 'delete', 'force', 'wait', 'get'] as const)
        const path = `/containers/${id}`
        if (verb === 'create') await operate({ verb, id }, 'POST', '/containers', { id, bundle: bundles.get(`kind${kinds.indexOf(kindOf(id))}`), start: dice() < 0.8, autoRemove: dice() < 0.2 })
        else if (verb === 'start') await operate({ verb, id }, 'POST', `${path}/start`, {})
        else if (verb === 'signal') await operate({ verb, id }, 'POST', `${path}/signal`, { signal: pick(['TERM', 'KILL', 0]) })
        else if (verb === 'stop') await operate({ verb, id }, 'POST', `${path}/stop`, { timeout: 1 })
        else if (verb === 'delete' || verb === 'force') await operate({ verb: 'delete', id }, 'DELETE', verb === 'force' ? `${path}?force=true` : path)
        // One that never ends would hold its client for good.
        else if (verb === 'wait' && kindOf(id).status !== null && kindOf(id).told !== true) await Promise.race([operate({ verb, id }, 'GET', `${path}/wait`), pause(2000)])
        else await operate({ verb: 'get', id }, 'GET', path)
      }
    }
    const working = Array.from({ length: clients }, client)

    for (let round = 0; round < kills; round++) {
      await pause(dice() * 800)
      await strike(daemon, dice, faults)
      await daemon.stop('SIGKILL')
      faults.push({ kind: 'daemon' })
      await daemon.launch(['--log-level', 'warn', ...args])
      await follower.connect(daemon)
      if (round % 50 === 49) log(`${round + 1} kills, ${operations.length} operations, ${follower.seen.length} events`)
    }
    ended = true
    await Promise.all(working)

    const list = (await daemon.get('/containers?limit=1000')).body.items as { id: string }[]
    for (const { id } of list) await operate({ verb: 'delete', id }, 'DELETE', `/containers/${id}?force=true`)
    const left = (await daemon.get('/containers')).body.items as { id: string, status: string }[]
    const journal = await wholeJournal(daemon)
    const last = journal.at(-1)
    if (last !== undefined) await follower.reach(last.id)
    follower.close()
    const leftovers = [...left.map(({ id, status }) => `container ${id} is still ${status}`), ...await leftBehind(daemon, seed)]
    const verdict = check({ journal, readers: [follower.seen], operations, faults, ownStatus: (id) => kindOf(id).status, leftovers })
    return {
      seed,
      rounds: kills,
      seconds: Math.round((performance.now() - began) / 1000),
      faults: Object.fromEntries(Object.entries(Object.groupBy(faults, ({ kind }) => kind)).map(([kind, all]) => [kind, all.length])),
      operations: operations.length,
      unanswered: operations.filter(({ answer }) => answer === undefined).length,
      events: journal.length,
      runs: new Set(journal.map(({ runId }) => runId)).size,
      verdict,
      output: daemon.output
    }
  } finally {
    ended = true
    await daemon.destroy()
  }
}

/** Most times something else dies a moment before the daemon does. */
async function strike (daemon: Daemon, dice: () => number, faults: Fault[]): Promise<void> {
  const what = dice()
  const any = <T>(list: readonly T[]): T | undefined => list[Math.floor(dice() * list.length)]
  if (what < 0.25) {
    const shim = any(await daemon.shims())
    const runId = shim === undefined ? undefined : runIn.exec(await readFile(`/proc/${shim}/cmdline`, 'utf8').catch(() => ''))?.[1]
    if (shim === undefined || runId === undefined) return
    kill(shim)
    faults.push({ kind: 'shim', runId })
  } else if (what < 0.5) {
    const { body } = await daemon.get('/containers?limit=1000').catch(() => ({ body: undefined }))
    const victim = any(((body?.items ?? []) as { runId: string, pid: number | null }[]).filter(({ pid }) => pid !== null))
    if (victim?.pid == null) return
    kill(victim.pid)
    faults.push({ kind: 'init', runId: victim.runId })
  } else if (what < 0.7) {
    const calls: { pid: number, line: string }[] = []
    for (const name of await readdir('/proc')) {
      const line = /^\d+$/.test(name) ? await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') : ''
      const [program = '', ...words] = line.split('\0')
      if (program.endsWith('runc') && line.includes(daemon.state) && !words.includes('init')) calls.push({ pid: Number(name), line })
    }
    const call = any(calls)
    if (call === undefined) return
    kill(call.pid)
    const runId = runIn.exec(call.line)?.[1]
    faults.push({ kind: 'runtime', ...(runId === undefined ? {} : { runId }) })
  }
}

/** The name of a run, as the runtime has it: the container and the run. */
const runIn = /\.([0-9a-f]{20})\0/

function kill (pid: number): void {
  try { process.kill(pid, 'SIGKILL') } catch { /* it was quicker */ }
}

/** Every event, page by page. */
export async function wholeJournal (daemon: Daemon): Promise<EventView[]> {
  const journal: EventView[] = []
  for (let query = 'from=earliest'; ;) {
    const { body } = await daemon.get(`/events?follow=false&limit=1000&${query}`, { accept: 'application/json' })
    journal.push(...body.items)
    if (body.nextCursor === null) return journal
    query = `cursor=${body.nextCursor}`
  }
}

/** What is there of longshore's own after every container was deleted. */
export async function leftBehind (daemon: Daemon, seed: number): Promise<string[]> {
  const found: string[] = []
  for (const pid of await daemon.shims()) found.push(`shim ${pid}`)
  for (const directory of [join(daemon.state, 'runs'), join(daemon.state, 'runtime'), join(daemon.root, 'containers')]) {
    for (const name of await readdir(directory).catch(() => [])) found.push(join(directory, name))
  }
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')
    if (environment.split('\0').includes(`${marker}=${seed}`)) found.push(`process ${name}`)
  }
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) if (line.includes(daemon.directory)) found.push(`mount ${line}`)
  return found
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, kills: { type: 'string', default: '1000' }, containers: { type: 'string', default: '100' }, clients: { type: 'string', default: '8' } } })
  const report = await chaos({
    seed: Number(values.seed ?? Date.now() % 1_000_000),
    kills: Number(values.kills),
    containers: Number(values.containers),
    clients: Number(values.clients),
    log: (line) => { console.log(line) }
  })
  const { verdict, output, ...figures } = report
  console.log(JSON.stringify(figures))
  let wrong = 0
  for (const [what, list] of Object.entries(verdict)) {
    console.log(`${what}: ${list.length}`)
    for (const line of list.slice(0, 20)) console.log(`  ${line}`)
    wrong += list.length
  }
  if (wrong > 0) {
    console.log(output.slice(-20_000))
    process.exitCode = 1
  }
}
