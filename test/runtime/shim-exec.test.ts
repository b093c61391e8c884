/** Processes in the shim's slots, with a runtime that is a shell script. */
import t from 'tap'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { Shim } from '../../src/runtime/shim.ts'
import { ShimProcesses, type ShimProcess } from '../../src/runtime/shim-processes.ts'
import { decodePacket, encodePacket, packetType, shimOp, shimState } from '../../src/runtime/shim-protocol.ts'
import type { Watch } from '../../src/runtime/watch.ts'
import { exitOf, finish, house, output, recordOf, type House } from '../support/shim.ts'

const options = { terminal: false, noInput: false, window: { width: 80, height: 24 } }

/** Lets the runtime make a process that runs this script. */
async function start (at: House, shim: Shim, id: string, script: string): Promise<{ process: ShimProcess, result: Awaited<ReturnType<Shim['start']>>, directory: string }> {
  const directory = join(at.outDir, 'processes', id)
  await mkdir(directory, { recursive: true })
  const process = shim.processes.take(id)
  await writeFile(join(at.runDir, `exec-${process.slot}.json`), script)
  return { process, result: await shim.processes.start(process, options), directory }
}

const ended = async (process: ShimProcess): Promise<unknown> => process.exit ?? await new Promise((resolve) => { process.onExit = resolve; process.onLost = () => resolve('lost') })
const freed = async (process: ShimProcess): Promise<void> => { while (!process.freed) await new Promise((resolve) => setTimeout(resolve, 5)) }

t.test('each slot has its process, input, output and exit', async (t) => {
  const at = await house(t, 'exec sleep 1000')
  const { shim, created } = await at.spawn()
  const { pid } = await created
  const made = await Promise.all(['a', 'b', 'c'].map(async (id, n) => await start(at, shim, id, `read -r line; echo ${id} $line; exit ${n + 1}`)))
  t.same(made.map(({ process }) => process.slot).sort(), [1, 2, 3])
  for (const { result } of made) t.match(result, { waitStatus: 0, error: 0, pid: Number })
  for (const { process } of made) process.signal(0)
  await Promise.all(made.map(async ({ process: { slot, id } }) => await shim.input(slot, new TextEncoder().encode(`in-${id}\n`))))
  for (const [n, { process, directory }] of made.entries()) {
    t.match(await ended(process), { waitStatus: (n + 1) << 8, outputComplete: true })
    t.match((await output(directory)).map(({ text }) => text).join(''), `${process.id} in-${process.id}\n`)
    t.match(await recordOf(directory, process.id), { waitStatus: (n + 1) << 8, started: true })
    t.throws(() => process.signal(0), { code: 'ESRCH' })
    shim.processes.acknowledge(process)
    await freed(process)
  }
  const held = await start(at, shim, 'held', 'exec sleep 1000')
  t.match((await start(at, shim, 'held', 'exit 0')).result, { error: constants.errno.EEXIST, pid: 0 }, 'one directory is not for two')
  held.process.signal(9)
  t.match(await ended(held.process), { waitStatus: 9 }, 'whose process is as it was')
  shim.processes.acknowledge(held.process)
  await freed(held.process)
  const again = await start(at, shim, 'd', 'exit 9')
  t.equal(again.process.slot, 1, 'a slot is used again')
  t.match(await ended(again.process), { waitStatus: 9 << 8 }, 'also when it ends before its pid is known')
  process.kill(pid, 'SIGKILL')
  await exitOf(shim)
  t.match((await start(at, shim, 'e', 'exit 0')).result, { error: 3, pid: 0 }, 'not beside an init that has ended')
  await finish(shim)
})

t.test('a runtime that refuses or is ended leaves the slot free, and nobody behind', async (t) => {
  const at = await house(t, 'exec sleep 1000')
  const { shim, created } = await at.spawn()
  const { pid } = await created
  await writeFile(join(at.mode, 'exec-refuse'), '')
  const refused = await start(at, shim, 'a', 'exit 0')
  t.match(refused.result, { waitStatus: 3 << 8, pid: 0 })
  t.match(await output(refused.directory), [{ stream: 2, text: 'not this one\n' }])
  t.ok(refused.process.freed)
  await writeFile(join(at.mode, 'exec-hang'), '')
  await mkdir(join(at.outDir, 'processes', 'b'))
  const hanging = shim.processes.take('b')
  await writeFile(join(at.runDir, `exec-${hanging.slot}.json`), 'exec sleep 1000')
  const result = shim.processes.start(hanging, options)
  // It has made the process, and then hangs: its pid file is there.
  let made = ''
  while (!made.endsWith('\n')) made = await readFile(join(at.runDir, `exec-${hanging.slot}.pid`), 'utf8').catch(() => '')
  shim.processes.abort(hanging)
  t.match(await result, { waitStatus: 9, pid: 0 })
  for (;;) {
    try {
      process.kill(Number(made), 0)
    } catch {
      break
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  t.pass('what it had made is ended too')
  process.kill(pid, 'SIGKILL')
  await exitOf(shim)
  await finish(shim)
})

t.test('a slot whose process could not be made is nobody else\'s until the shim has freed it', async (t) => {
  const freedSlots: number[] = []
  const processes = new ShimProcesses({ drop: () => {} } as unknown as Watch, () => {}, (slot) => freedSlots.push(slot))
  const say = (type: number, slot: number, state: number, waitStatus: number): void => {
    const packet = decodePacket(encodePacket(type, { slot, op: shimOp.exec }))
    if (packet === undefined) throw new Error('a packet is one')
    processes.receive({ ...packet, state, waitStatus }, null)
  }
  const failed = processes.take('failed')
  const result = processes.start(failed, options)
  say(packetType.result, 1, shimState.createFailed, 3 << 8)
  t.match(await result, { waitStatus: 3 << 8 })
  t.ok(failed.freed, 'over for whoever asked')
  const next = processes.take('next')
  t.equal(next.slot, 2)
  say(packetType.free, 1, shimState.createFailed, 0)
  t.same(freedSlots, [1])
  t.notOk(next.freed)
  t.equal(processes.take('last').slot, 1)
  say(packetType.result, 1, 0, 1)
  t.equal(processes.take('after a refusal').slot, 1)
})

t.test('another daemon finds them by their ids: what runs, and what ended unseen', async (t) => {
  const at = await house(t, 'exec sleep 1000')
  const { shim, created } = await at.spawn()
  const { pid } = await created
  const runs = await start(at, shim, 'runs', 'exec sleep 1000')
  const ends = await start(at, shim, 'ends', 'exec sleep 1000')
  shim.release()
  process.kill(ends.result.pid, 'SIGKILL')
  await recordOf(ends.directory, 'ends')
  const next = await Shim.connect(at.watch, at.runDir)
  if (next === undefined) throw new Error('the shim is there')
  await next.hello()
  t.match(next.processes.find('ends')?.exit, { waitStatus: 9 })
  const found = next.processes.find('runs')
  t.equal(found?.pid, runs.result.pid)
  t.equal(next.processes.find('none'), undefined)
  found?.signal(15)
  if (found !== undefined) t.match(await ended(found), { waitStatus: 15 })
  process.kill(pid, 'SIGKILL')
  await exitOf(next)
  await finish(next)
})
