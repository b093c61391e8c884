/**
 * Random clients on a daemon that is killed at random moments and steps, with its shims, inits and runtimes; everything
 * that was asked, answered and told is held against the model in checker.ts. On the command line:
 *
 *   node test/chaos/chaos.ts [--seed N] [--kills N] [--containers N] [--clients N]
 */
import { existsSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Attached } from '../support/attached.ts'
import { Daemon } from '../support/daemon.ts'
import { check, triesLabel, type Fault, type Operation, type Verdict } from './checker.ts'
import { failpoints, strike } from './faults.ts'
import { Follower, wholeJournal } from './follower.ts'
import { kindOf, kinds, ownStatus, execStatus } from './kinds.ts'

export type ChaosOptions = { seed: number, kills: number, containers: number, clients: number, log?: (line: string) => void, args?: string[], program?: string }
export type ChaosReport = {
  seed: number, rounds: number, seconds: number, faults: Record<string, number>, verbs: Record<string, number>, operations: number, unanswered: number
  events: number, runs: number, repairs: number, restoreMs: { p50: number, max: number }, verdict: Verdict, output: string
}

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

/** in the environment of every process of a container, with the seed */
export const marker = 'LONGSHORE_CHAOS'

/** seconds that a request may take before it counts as one that was never answered */
const answerLimit = 120

export async function chaos ({ seed, kills, containers, clients, log = () => {}, args = [], program }: ChaosOptions): Promise<ChaosReport> {
  const began = performance.now()
  // One for the faults and one for the clients: what is done to the daemon is the same from the same seed, whatever the timing.
  const dice = random(seed)
  const clientDice = random(seed + 1)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(clientDice() * list.length)] as T
  const pause = async (milliseconds: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, milliseconds))
  const operations: Operation[] = []
  const faults: Fault[] = []
  const restores: number[] = []
  const options = ['--log-level', 'warn', '--reconcile-interval', '2', ...args]
  const daemon = await Daemon.prepare()
  if (program !== undefined) daemon.program = program
  let ended = false
  let execs = 0
  try {
    await daemon.launch(options)
    const paths = (await daemon.get('/openapi.json')).body.paths as Record<string, object>
    const bundles = new Map<string, string>()
    for (const [index, { command, memory }] of kinds.entries()) {
      bundles.set(`kind${index}`, await daemon.bundle(`kind${index}`, command, (config) => {
        config.process.env.push(`${marker}=${seed}`)
        if (memory !== undefined && existsSync('/sys/fs/cgroup/memory/memory.oom_control')) config.linux.resources.memory = { limit: memory }
      }))
    }
    const followers = [new Follower(), new Follower(), new Follower()]
    const follow = async (): Promise<void> => { await Promise.all(followers.map(async (follower) => await follower.connect(daemon))) }
    await follow()

    const operate = async (operation: Operation, method: string, path: string, body?: unknown): Promise<Operation> => {
      operations.push(operation)
      try {
        const { status, body: answer } = await daemon.request(method, path, body)
        operation.answer = { status, body: answer }
        if (status === 503 || status === 429) await pause(20)
      } catch {
        // The daemon went away under it.
        await pause(100)
      }
      return operation
    }
    const verbs = ['create', 'create', 'create', 'create', 'start', 'start', 'signal', 'stop', 'delete', 'force', 'wait', 'get', 'get', 'list', 'cut', 'logs', 'attach', 'renew']
    if (paths['/containers/{id}/processes'] !== undefined) verbs.push('exec', 'exec', 'exec', 'processes')
    if (paths['/containers/{id}/pause'] !== undefined) verbs.push('pause', 'resume', 'resume')
    /** What becomes of it when it ends, or is left alone: each at times. The tries that it may have are in its labels, where the checker finds them. */
    const lifecycle = (): object => {
      const share = clientDice()
      if (share < 0.2) return { autoRemove: true }
      if (share < 0.3) return { timeToLive: pick([1, 2, 5]) }
      if (share > 0.55) return {}
      const maxAttempts = pick([2, 5])
      return { restartPolicy: { name: pick(['on-failure', 'always', 'unless-stopped']), maxAttempts, initialDelay: pick([0, 0.1, 0.5]), maxDelay: 1 }, labels: { [triesLabel]: String(maxAttempts) } }
    }
    const client = async (): Promise<void> => {
      while (!ended) {
        const id = `c${Math.floor(clientDice() * containers)}`
        const kind = kindOf(id)
        const verb = pick(verbs)
        const path = `/containers/${id}`
        if (verb === 'create') await operate({ verb, id }, 'POST', '/containers', { id, bundle: bundles.get(`kind${kinds.indexOf(kind)}`), start: clientDice() < 0.8, ...lifecycle() })
        else if (verb === 'start' || verb === 'pause' || verb === 'resume') await operate({ verb, id }, 'POST', `${path}/${verb}`, {})
        else if (verb === 'signal') await operate({ verb, id }, 'POST', `${path}/signal`, { signal: pick(['TERM', 'KILL', 0]) })
        else if (verb === 'stop') await operate({ verb, id }, 'POST', `${path}/stop`, { timeout: 1 })
        else if (verb === 'delete' || verb === 'force') await operate({ verb: 'delete', id }, 'DELETE', verb === 'force' ? `${path}?force=true` : path)
        else if (verb === 'exec') {
          const processId = `x${++execs}`
          const status = execStatus(processId)
          await operate({ verb, id, processId }, 'POST', `${path}/processes`, { id: processId, args: status === null ? ['/bin/sleep', '1000'] : ['/bin/sh', '-c', `sleep 0.${execs % 3}; exit ${status}`], env: ['PATH=/bin', `${marker}=${seed}`] })
        } else if (verb === 'processes') await operate({ verb, id }, 'GET', `${path}/processes`)
        else if (verb === 'logs') await operate({ verb, id }, 'GET', `${path}/logs?tail=5`)
        else if (verb === 'renew') await operate({ verb, id }, 'POST', `${path}/lease`, { timeToLive: 2 })
        else if (verb === 'attach') await Promise.race([Attached.open(daemon.socket, `${path}/attach`).then((attached) => attached.close(), () => {}), pause(2000)])
        else if (verb === 'list') await operate({ verb, id: '' }, 'GET', '/containers?limit=1000')
        else if (verb === 'cut') {
          // A reader leaves in the middle of the stream, and comes back at once.
          const follower = pick(followers)
          if (clientDice() < 0.5 && follower.connected) {
            follower.cut()
            await follower.connect(daemon).catch(() => {})
          }
        } else if (verb === 'wait' && kind.status !== null && kind.told !== true) await Promise.race([operate({ verb, id }, 'GET', `${path}/wait`), pause(2000)])
        // One that never ends would hold its client for good.
        else await operate({ verb: 'get', id }, 'GET', path)
      }
    }
    const working = Array.from({ length: clients }, client)

    for (let round = 0; round < kills; round++) {
      await pause(dice() * 800)
      await strike(daemon, dice, faults)
      await daemon.stop('SIGKILL')
      faults.push({ kind: 'daemon' })
      // A third of the daemons die by themselves at a step of their own, if they come by it in time; in restore that is before they are ready.
      const point = dice() < 1 / 3 ? failpoints[Math.floor(dice() * failpoints.length)] : undefined
      const times = 1 + Math.floor(dice() * 4)
      if (point !== undefined) {
        const died = await daemon.launch(options, { LONGSHORE_FAILPOINT: `${point}:${times}` }).then(() => false, () => true)
        if (!died) {
          await follow().catch(() => {})
          await pause(200 + dice() * 600)
        }
        const { child } = daemon
        const atPoint = child === undefined || child.signalCode !== null
        faults.push({ kind: atPoint ? 'daemon at a step' : 'daemon' })
        await daemon.stop('SIGKILL')
      }
      const from = performance.now()
      await daemon.launch(options)
      restores.push(performance.now() - from)
      await follow()
      if (round % 50 === 49) log(`${round + 1} kills, ${operations.length} operations, ${followers[0]?.seen.length ?? 0} events, ${Math.round((performance.now() - began) / 1000)} s`)
    }
    ended = true
    let stuck: NodeJS.Timeout | undefined
    const late = new Promise<string[]>((resolve) => {
      stuck = setTimeout(() => resolve(operations.filter(({ answer }) => answer === undefined).slice(-clients).map(({ verb, id }) => `the answer to ${verb} of ${id}`)), answerLimit * 1000)
    })
    const unanswered = await Promise.race([Promise.all(working).then((): string[] => []), late])
    clearTimeout(stuck)

    const list = (await daemon.get('/containers?limit=1000')).body.items as { id: string }[]
    await Promise.all(list.map(async ({ id }) => await operate({ verb: 'delete', id }, 'DELETE', `/containers/${id}?force=true`)))
    const left = (await daemon.get('/containers?limit=1000')).body.items as { id: string, status: string }[]
    const journal = await wholeJournal(daemon)
    const last = journal.at(-1)
    for (const follower of followers) {
      if (!follower.connected) await follower.connect(daemon)
      if (last !== undefined) await follower.reach(last.id).catch(() => { /* what it never saw is the checker's to say */ })
      follower.close()
    }
    const leftovers = [...left.map(({ id, status }) => `container ${id} is still ${status}`), ...await leftBehind(daemon, seed)]
    const verdict = check({ journal, readers: followers.map(({ seen }) => seen), operations, faults, ownStatus, leftovers })
    verdict.lost.push(...unanswered)
    restores.sort((one, other) => one - other)
    return {
      seed,
      rounds: kills,
      seconds: Math.round((performance.now() - began) / 1000),
      faults: counted(faults.map(({ kind }) => kind)),
      verbs: counted(operations.map(({ verb, answer }) => (answer !== undefined && answer.status < 300 ? verb : 'refused or unanswered'))),
      operations: operations.length,
      unanswered: operations.filter(({ answer }) => answer === undefined).length,
      events: journal.length,
      runs: new Set(journal.map(({ runId }) => runId)).size,
      repairs: daemon.output.match(/"repair":/g)?.length ?? 0,
      restoreMs: { p50: Math.round(restores[Math.floor(restores.length / 2)] ?? 0), max: Math.round(restores.at(-1) ?? 0) },
      verdict,
      output: daemon.output
    }
  } finally {
    ended = true
    await daemon.destroy()
  }
}

function counted (names: string[]): Record<string, number> {
  return Object.fromEntries(Object.entries(Object.groupBy(names, (name) => name)).map(([name, all]) => [name, all?.length ?? 0]))
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
  console.log(JSON.stringify(figures, null, 1))
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
