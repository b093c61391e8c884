/**
 * Mistakes that supervisors have made, put back in one at a time: each has to be found, else the chaos run proves nothing.
 * Prints a table; ends with 1 when one was not found, or could not be put in any more. On the command line:
 *
 *   node test/chaos/bugs.ts [--only N] [--seed N]
 */
import { readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { project } from '../support/daemon.ts'
import { chaos, marker } from './chaos.ts'
import type { Verdict } from './checker.ts'
import { failpointRun, type Step } from './failpoint-run.ts'
import { mutant, type Change } from './mutant.ts'

type Bug = { name: string, changes: Change[], steps?: Step[], kills?: number }

const bugs: Bug[] = [
  {
    name: 'a try of a restart policy is counted again by the next daemon',
    kills: 20,
    changes: [{ file: 'supervisor/restart.ts', from: 'restart.decidedFor === run.runId || ', to: '' }, { file: 'supervisor/restart.ts', from: "if (decision !== undefined && !told.has('StateRestartScheduled'))", to: 'if (decision !== undefined)' }]
  },
  {
    name: 'an exit is told again by the next daemon, and nothing refuses it',
    steps: ['exit.told', 'teardown.deleted'],
    changes: [
      { file: 'events/journal-store.ts', from: "CREATE UNIQUE INDEX IF NOT EXISTS events_once_for_a_process ON events (run_id, process_id, type) WHERE type IN ('StateStart', 'StateStartFailed', 'StateExit');", to: '' },
      { file: 'supervisor/restore.ts', from: "if (told.has('StateExit') || told.has('StateStartFailed')) {", to: 'if (false) {' },
      { file: 'events/journal-worker.ts', from: 'INSERT INTO exits', to: 'INSERT OR REPLACE INTO exits' }
    ]
  },
  {
    name: 'an exit is lost that came while no daemon was there',
    kills: 8,
    changes: [{ file: 'supervisor/restore.ts', from: '    exitSeen(supervisor, container, facts)\n', to: "    container.status = run.phase = init.status = 'stopped'\n    run.tornDown = true\n" }]
  },
  {
    name: 'an exit is told before the start of its run',
    kills: 2,
    changes: [{ file: 'supervisor/exit.ts', from: "  readonly kind = 'exit'\n", to: "  readonly kind = 'exit'\n  override readonly lane = 'free' as const\n" }]
  },
  {
    name: 'a status is made up for an end that nobody saw',
    kills: 8,
    changes: [{ file: 'supervisor/exit.ts', from: 'report({ waitStatus: known,', to: 'report({ waitStatus: known ?? 255 << 8,' }, { file: 'supervisor/restore.ts', from: 'facts = { waitStatus: null,', to: 'facts = { waitStatus: 255 << 8,' }]
  },
  {
    name: 'a running container is taken for lost by the next daemon',
    steps: ['restore.loaded'],
    changes: [{ file: 'supervisor/restore.ts', from: 'const shim = sameBoot ? await Shim.connect(watch, container.runDir) : undefined', to: 'const shim = (sameBoot ? undefined : await Shim.connect(watch, container.runDir)) as Shim | undefined' }]
  },
  {
    name: 'OOM is told after the exit',
    kills: 3,
    changes: [
      { file: 'supervisor/delete.ts', from: 'if (kills != null) await tellOom(supervisor, container, run.runId, kills)\n', to: '' },
      { file: 'supervisor/delete.ts', from: "    failpoint('exit.told')\n", to: "    if (kills != null && kills > container.oomTold) await supervisor.publish(container, 'StateOOM', { process: init })\n" },
      { file: 'supervisor/run.ts', from: "if (event.kind !== 'oom') return", to: 'return' }
    ]
  },
  {
    name: 'a container that removes itself is told as deleted before its exit',
    kills: 4,
    changes: [
      { file: 'supervisor/delete.ts', from: '    if (exit !== undefined) await this.#tell(supervisor, container, ended, exit)\n', to: '    if (exit !== undefined && !container.autoRemove) await this.#tell(supervisor, container, ended, exit)\n    if (exit !== undefined && container.autoRemove) container.status = \'stopped\'\n' },
      { file: 'supervisor/delete.ts', from: '    if (gone) await removeContainer(supervisor, this.#shown, container)\n', to: '    if (gone) await removeContainer(supervisor, this.#shown, container)\n    if (gone && exit !== undefined) { container.status = \'running\'; await this.#tell(supervisor, container, ended, exit) }\n' }
    ]
  },
  {
    name: 'the last number is given again after a restart',
    kills: 6,
    changes: [{ file: 'events/journal-store.ts', from: '    const bounds = db.prepare(', to: "    db.exec('DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)')\n    const bounds = db.prepare(" }, { file: 'events/journal-store.ts', from: "const head = recover(db, epochsOf(db).at(-1)?.epoch, Math.max(Number(getMeta(db, 'head') ?? 0), bounds.head ?? 0))", to: 'const head = bounds.head ?? 0' }]
  },
  {
    name: 'a reader misses what is committed while it reads a page',
    kills: 10,
    changes: [{ file: 'events/hub.ts', from: 'this.#advance(reader, Math.max(reached, first - 1), bytes)', to: 'this.#advance(reader, Math.max(reached, this.#journal.head), bytes)' }]
  },
  {
    name: 'the record is written after the spawn, and nobody looks for what has none',
    steps: ['create.spawned'],
    changes: [{ file: 'supervisor/run.ts', from: "  await container.save(steps)\n  failpoint('create.recorded')\n", to: "  await (await import('node:fs/promises')).mkdir(container.runDir, { recursive: true, mode: 0o700 })\n" }, { file: 'main.ts', from: 'await endOrphans(supervisor, orphans)', to: 'void orphans' }]
  },
  {
    name: 'state is shown before its event is on disk',
    steps: ['journal.committed:2', 'journal.committed:3'],
    kills: 6,
    changes: [
      { file: 'supervisor/supervisor.ts', from: '    await this.options.journal.append({\n', to: '    apply?.()\n    await new Promise((resolve) => setTimeout(resolve, 50))\n    await this.options.journal.append({\n' },
      { file: 'supervisor/supervisor.ts', from: '      container.lastEventId = id\n      apply?.()\n', to: '      container.lastEventId = id\n' }
    ]
  },
  {
    name: 'what outlives init is left alone',
    kills: 8,
    changes: [{ file: 'supervisor/kill.ts', from: '    if (await signalAll(supervisor, container, 9) === 0) return true\n', to: '    return true\n' }, { file: 'supervisor/teardown.ts', from: 'if (await deleteByForce(supervisor, task, container, run.runtimePath) && !await exists(container.runtimeDir)) return', to: 'return' }]
  }
]

const { values } = parseArgs({ options: { only: { type: 'string' }, seed: { type: 'string', default: '7' } } })
const seed = Number(values.seed)
let missed = 0
const seeds: number[] = []
console.log('| mistake | found by | as |\n|---|---|---|')
for (const [index, { name, changes, steps = [], kills }] of bugs.entries()) {
  if (values.only !== undefined && Number(values.only) !== index) continue
  // A seed of its own: what one mistake leaves behind is not another's.
  const found = await find(`${index}`, changes, steps, kills, seed + 1000 * index)
  await clear()
  if (found === undefined) missed++
  console.log(`| ${index} ${name} | ${found?.by ?? '**nothing**'} | ${found?.as ?? ''} |`)
}
await rm(join(project, 'build/mutants'), { recursive: true, force: true })
process.exitCode = missed === 0 ? 0 : 1

async function find (name: string, changes: Change[], steps: Step[], kills: number | undefined, seed: number): Promise<{ by: string, as: string } | undefined> {
  let program: string
  try {
    program = await mutant(name, changes)
  } catch (error) {
    console.error((error as Error).message)
    return undefined
  }
  seeds.push(seed, ...steps.map((_, index) => process.pid * 100 + index))
  for (const [index, step] of steps.entries()) {
    // A daemon that cannot go on is found as well: it is a verb that is never answered.
    const verdict = await failpointRun(step, process.pid * 100 + index, program).then(({ verdict }) => verdict, (error: unknown) => stuck(error))
    const as = words(verdict)
    if (as !== undefined) return { by: `the step ${step}`, as }
  }
  if (kills === undefined) return undefined
  const verdict = await chaos({ seed, kills, containers: 24, clients: 6, program }).then(({ verdict }) => verdict, (error: unknown) => stuck(error))
  const as = words(verdict)
  return as === undefined ? undefined : { by: `${kills} kills, seed ${seed}`, as }
}

/** Ends what the mistakes left behind: shims of a copy, and processes of containers that bear the mark of a run. */
async function clear (): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    const environment = line.includes('longshore-shim') ? '' : await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')
    const ours = line.startsWith(join(project, 'build/mutants')) || environment.split('\0').some((one) => seeds.some((seed) => one === `${marker}=${seed}`))
    if (!ours) continue
    try { process.kill(Number(name), 'SIGKILL') } catch { /* it has ended */ }
  }
}

function stuck (error: unknown): Verdict {
  return { lost: [(error as Error).message.slice(0, 200)], duplicate: [], invented: [], disordered: [], leaked: [] }
}

function words (verdict: Verdict): string | undefined {
  const all = Object.entries(verdict).filter(([, list]) => list.length > 0)
  if (all.length === 0) return undefined
  return `${all.map(([what, list]) => `${list.length} ${what}`).join(', ')}: ${(all[0]?.[1][0] ?? '').replaceAll('|', '/').slice(0, 140)}`
}
