/**
 * From the death of a container's init to bytes at a reader of its StateExit, in turn with a bare program that waits for the same
 * death and writes to a socket (promise: p50 at most 1.3 × its, p99 at most 5 ms). The same bundle, runtime and reader; only
 * the way between differs. ROUNDS: pairs for each load (100); LOADS: idle readers/running containers (0/0,1000/100);
 * READERS: as many that all get the event, last (1000; 0 for none). PRIORITY=1 puts what is measured ahead of whatever else the
 * machine does (chrt(1)); TREE: another tree's daemon.
 */
import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Daemon, project } from '../test/support/daemon.ts'
import { median, quantile } from './support/figures.ts'
import { LineProgram, compile } from './support/programs.ts'

const rounds = Number(process.env.ROUNDS ?? 100)
const loads = (process.env.LOADS ?? '0/0,1000/100').split(',').map((load) => load.split('/').map(Number) as [number, number])
const crowd = Number(process.env.READERS ?? 1000)
/** containers that are made at a time, so that they have lived a while when they are killed */
const block = 10
const run = promisify(execFile)

const daemon = await Daemon.prepare()
const ahead = process.env.PRIORITY === '1'
daemon.program = join(process.env.TREE ?? project, 'bin/longshored')
const helpers: LineProgram[] = []

async function helper (name: string, ...args: string[]): Promise<LineProgram> {
  const started = new LineProgram(await compile(name, daemon.directory), args)
  helpers.push(started)
  return started
}

try {
  await daemon.launch(['--log-level', 'warn', '--max-subscribers', '20000'])
  const sleeper = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const bareRoot = join(daemon.directory, 'bare')
  await mkdir(bareRoot)
  let made = 0

  type Pair = { floor: LineProgram, reader: LineProgram }
  /** A reader that has come now, with a bare program of its own. */
  const pair = async (query: string): Promise<Pair> => {
    const socket = join(daemon.directory, `floor-${helpers.length}.sock`)
    const floor = await helper('exit-floor', socket, 'runc', bareRoot, sleeper)
    await floor.line()
    const reader = await helper('exit-reader', daemon.socket, query, socket)
    await reader.line()
    return { floor, reader }
  }

  const measure = async (pairs: number, { floor, reader }: Pair): Promise<{ longshore: number[], floor: number[] }> => {
    const times = { longshore: [] as number[], floor: [] as number[] }
    for (let done = 0; done < pairs; done += block) {
      const ours: { id: string, pid: number }[] = []
      const bare: { id: string, pid: number }[] = []
      for (let i = 0; i < block; i++) {
        const id = `exit-${process.pid}-${made++}`
        const { status, body, text } = await daemon.post('/containers', { id, bundle: sleeper })
        if (status !== 201) throw new Error(text)
        ours.push({ id, pid: body.pid })
        floor.say(`make ${id}`)
        bare.push({ id, pid: Number(await floor.line()) })
      }
      floor.say(`wait ${block}`)
      if (ahead) {
        const pids = [daemon.pid, floor.child.pid ?? 0, reader.child.pid ?? 0, ...await daemon.shims()]
        await Promise.all(pids.map(async (pid) => await run('chrt', ['--all-tasks', '--reset-on-fork', '--fifo', '--pid', '1', String(pid)])))
      }
      for (let i = 0; i < block; i++) {
        const one = async (kind: 'longshore' | 'floor', { pid, id }: { pid: number, id: string }): Promise<void> => {
          // What the deletion before has left to do is done by then.
          await new Promise((resolve) => setTimeout(resolve, 20))
          reader.say(`${kind} ${pid}`)
          const [taken = NaN, told] = (await reader.line()).split(' ').map(Number)
          if (told !== pid) throw new Error(`${kind} told of ${told}, not of ${pid}`)
          times[kind].push(taken)
          if (kind === 'longshore') await daemon.delete(`/containers/${id}`)
          else await run('runc', ['--root', bareRoot, 'delete', id])
        }
        await one('longshore', ours[i] ?? { id: '', pid: 0 })
        await one('floor', bare[i] ?? { id: '', pid: 0 })
      }
    }
    return times
  }

  const tell = (name: string, { longshore, floor }: { longshore: number[], floor: number[] }): void => {
    const ratio = median(longshore.map((time, i) => time / (floor[i] ?? NaN)))
    const milliseconds = (values: number[], q: number): string => (quantile(values, q) / 1000).toFixed(3)
    console.log(`| ${name} | ${milliseconds(floor, 0.5)} | ${milliseconds(longshore, 0.5)} | ${(median(longshore) / median(floor)).toFixed(2)} | ${ratio.toFixed(2)} | ${milliseconds(floor, 0.99)} | ${milliseconds(longshore, 0.99)} |`)
  }

  const first = await pair('from=now&type=StateExit')
  await measure(block, first)
  console.log('| | bare program: p50, ms | longshore: p50, ms | ratio of them | median of paired ratios | bare: p99, ms | longshore: p99, ms |\n|---|---|---|---|---|---|---|')
  let [idle, running] = [0, 0]
  for (const [readers, containers] of loads) {
    if (readers > idle) await (await helper('event-readers', daemon.socket, String(readers - idle), '0', 'from=now&container=none')).line()
    for (; running < containers; running++) await daemon.post('/containers', { id: `running-${running}`, bundle: sleeper })
    idle = Math.max(idle, readers)
    tell(`${idle} idle readers, ${running} running`, await measure(rounds, first))
  }
  if (crowd > 0) {
    const others = await helper('event-readers', daemon.socket, String(crowd), '0', 'from=now')
    await others.line()
    // They take what comes, and never have enough.
    others.say(String(Number.MAX_SAFE_INTEGER))
    tell(`${crowd} that get it too, before this one`, await measure(rounds, await pair('from=now')))
  }
} finally {
  for (const { child } of helpers) child.kill()
  await daemon.destroy()
}
