/**
 * An exec from the request to its exit and output in one answer (`?wait=true`), against the bare `runc exec` of the same
 * command in the same container, in turn: what the API adds. ROUNDS (60); RUNTIME (runc).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, makeBundle, trap } from '../test/support/daemon.ts'
import { cpuTime, quantile } from './support/figures.ts'

const rounds = Number(process.env.ROUNDS ?? 60)
const runtime = process.env.RUNTIME ?? 'runc'
const daemon = await Daemon.start(['--runtime', runtime])
try {
  const { body } = await daemon.post('/containers', { id: 'box', bundle: await makeBundle(join(daemon.directory, 'box'), trap(0)) })
  const spec = join(daemon.directory, 'process.json')
  await writeFile(spec, JSON.stringify({ args: ['/bin/true'], env: ['PATH=/bin', 'HOME=/'], cwd: '/', user: { uid: 0, gid: 0 }, noNewPrivileges: true }))
  const bare = async (more: string[] = []): Promise<void> => {
    const child = spawn(runtime, ['--root', join(daemon.state, 'runtime'), 'exec', ...more, '--process', spec, `box.${body.runId}`], { stdio: ['ignore', 'ignore', 'inherit'] })
    const [status] = await once(child, 'exit')
    if (status !== 0) throw new Error(`bare ${runtime} exec ended with ${String(status)}`)
  }
  const ways: Record<string, () => Promise<void>> = {
    'bare exec, to its end': bare,
    'bare exec --detach': async () => await bare(['--detach', '--pid-file', join(daemon.directory, 'pid')]),
    'longshore, exit and output': async () => {
      const { status, text } = await daemon.post('/containers/box/processes?wait=true', { args: ['/bin/true'] })
      if (status !== 201) throw new Error(text)
    },
    'longshore, started': async () => {
      const { status, text } = await daemon.post('/containers/box/processes', { args: ['/bin/true'] })
      if (status !== 201) throw new Error(text)
    }
  }
  const times = new Map(Object.keys(ways).map((name) => [name, [] as number[]]))
  let cpu = 0
  for (let round = -5; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const [before, began] = [await cpuTime(daemon.pid), performance.now()]
      await way()
      if (round >= 0) times.get(name)?.push(performance.now() - began)
      if (round >= 0 && name.startsWith('longshore')) cpu += await cpuTime(daemon.pid) - before
    }
  }
  for (const [name, values] of times) console.log(`${name}: p50 ${quantile(values, 0.5).toFixed(1)} ms, p90 ${quantile(values, 0.9).toFixed(1)} ms`)
  const of = (name: string): number[] => times.get(name) ?? []
  const ratios = of('longshore, exit and output').map((value, round) => value / (of('bare exec, to its end')[round] ?? NaN))
  console.log(`longshore ÷ bare, of pairs: p50 ${quantile(ratios, 0.5).toFixed(2)}; CPU of the daemon for each ${(cpu / rounds / 2).toFixed(1)} ms`)
} finally {
  await daemon.destroy()
}
