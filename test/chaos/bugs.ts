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
import { bugs } from './known-bugs.ts'
import { mutant, type Change } from './mutant.ts'

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
