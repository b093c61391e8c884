/** The shim ends at each step of its own: of create, start, exec, exit, delete and reconnection, with a daemon and without one. Each time the end is a true and final one, and nothing is left. */
import t, { type Test } from 'tap'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { Daemon, project } from '../support/daemon.ts'
import { ShimFailpoints, type Story } from './shim-failpoints.ts'

t.setTimeout(240_000)

const [major = 0, minor = 0] = release().split('.').map(Number)
const told = major > 6 || (major === 6 && minor >= 15)

/** The end of a container, however it was seen. */
const lost = { reason: 'monitor-lost', outputComplete: false }
const known = { reason: 'exited', status: 6, outputComplete: true }
const failed = { reason: 'start-failed', status: null }
/** init had ended by itself and the shim had not written it down: only the kernel can tell */
const byKernel = { reason: 'monitor-lost', status: told ? 6 : null, outputComplete: false }

type Expected = { exit: object, execExit?: object }

const duringCreate = ['shim.begun', 'shim.greeted', 'create.forking', 'create.forked', 'create.child', 'create.ended', 'create.named', 'create.told']
const duringStart = ['start.opened', 'start.heard', 'start.done', 'start.told']
const duringExec = ['exec.forking', 'exec.forked', 'exec.child', 'exec.ended', 'exec.named', 'exec.told']
const duringExit: Record<string, Expected> = {
  'exit.reaped': { exit: byKernel },
  'exit.drained': { exit: byKernel },
  'exit.told': { exit: known },
  'exit.written': { exit: known },
  'exit.recorded': { exit: known },
  'ack.heard': { exit: known },
  'ack.done': { exit: known },
  'delete.forking': { exit: known },
  'delete.child': { exit: known },
  'delete.forked': { exit: known },
  'delete.ended': { exit: known },
  'delete.told': { exit: known },
  'quit.heard': { exit: known }
}
const execByKernel = { reason: 'monitor-lost', status: told ? 3 : null, outputComplete: false }
const execKnown = { reason: 'exited', status: 3 }
const duringExecExit: Record<string, Expected> = {
  'exec-exit.reaped': { exit: lost, execExit: execByKernel },
  'exec-exit.drained': { exit: lost, execExit: execByKernel },
  'exec-exit.told': { exit: lost, execExit: execKnown },
  'exec-exit.written': { exit: lost, execExit: execKnown },
  'exec-exit.recorded': { exit: lost, execExit: execKnown }
}
const atOnce = 6

async function each (steps: readonly string[], work: (step: string) => Promise<void>): Promise<void> {
  const left = [...steps]
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let step = left.shift(); step !== undefined; step = left.shift()) await work(step)
  }))
}

function judge (t: Test, stories: Map<string, Story>, step: string, { exit, execExit }: Expected): void {
  const story = stories.get(step)
  t.equal(story?.reached, true, `${step}: it ended there`)
  t.match(story?.exit, exit, `${step}: ${JSON.stringify(story)}`)
  if (execExit !== undefined) t.match(story?.execExit, execExit, `${step}: of the process beside init`)
}

t.before(() => { execFileSync('make', ['--silent', '-C', join(project, 'src/native'), 'failpoints'], { stdio: 'pipe' }) })

t.test('of this nothing is in the shim that is shipped', async (t) => {
  t.notOk((await readFile(join(project, 'build/longshore-shim'))).includes('failpoints'))
  t.ok((await readFile(join(project, 'build/failpoints/longshore-shim'))).includes('failpoints'))
})

t.test('with a daemon', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const run = new ShimFailpoints(daemon, process.pid * 10)
  await run.begin()
  const all = [...duringCreate, ...duringStart, ...duringExec, ...Object.keys(duringExit), ...Object.keys(duringExecExit)]
  await each(all, async (step) => await run.prepare(step))
  const stopped = async (step: string): Promise<void> => { await run.ask('wait', step, 'GET', `/containers/${step}/wait`) }
  await each(all, async (step) => {
    if (duringCreate.includes(step)) {
      await run.arm(step)
      const { answer } = await run.create(step, true)
      t.ok([201, 502].includes(answer?.status ?? 0), `${step}: ${answer?.status ?? '-'}`)
      return
    }
    await run.create(step, !duringStart.includes(step))
    if (duringStart.includes(step)) {
      await run.arm(step)
      const { answer } = await run.ask('start', step, 'POST', `/containers/${step}/start`, {})
      t.ok([200, 502].includes(answer?.status ?? 0), `${step}: ${answer?.status ?? '-'}`)
    } else if (duringExec.includes(step)) {
      await run.arm(step)
      const { answer } = await run.exec(step)
      t.ok([201, 409, 502].includes(answer?.status ?? 0), `${step}: ${answer?.status ?? '-'}`)
      if (step === 'exec.child') t.match((await daemon.get(`/containers/${step}`)).body, { status: 'running', processes: [{ id: 'init' }] })
      else await stopped(step)
    } else if (duringExecExit[step] !== undefined) {
      await run.exec(step)
      await run.trapped(step)
      await run.arm(step)
      await run.ask('signal', step, 'POST', `/containers/${step}/processes/beside/signal`, { signal: 'TERM' })
      await stopped(step)
    } else {
      await daemon.trapped(step)
      await run.arm(step)
      await run.ask('signal', step, 'POST', `/containers/${step}/signal`, { signal: 'TERM' })
      await stopped(step)
    }
  })
  const { verdict, stories } = await run.end()
  for (const [what, list] of Object.entries(verdict)) t.same(list, [], what)
  for (const step of duringCreate) judge(t, stories, step, { exit: step === 'create.told' ? {} : failed })
  for (const step of duringStart) judge(t, stories, step, { exit: {} })
  for (const step of duringExec) judge(t, stories, step, { exit: step === 'exec.child' ? { reason: 'signaled', signal: 'SIGKILL' } : lost })
  for (const [step, expected] of Object.entries({ ...duringExit, ...duringExecExit })) judge(t, stories, step, expected)
  for (const { step, types } of stories.values()) {
    t.equal(types.filter((type) => type === 'StateExit' || type === 'StateStartFailed').length, 1, `${step}: one end of init`)
    t.equal(types.filter((type) => type === 'StateExit(beside)').length, types.filter((type) => type === 'StateStartProcess(beside)').length, `${step}: one end of what was executed`)
  }
  if (!t.passing()) t.comment(daemon.output.slice(-10_000))
})

t.test('without one, and as the next one comes', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const run = new ShimFailpoints(daemon, process.pid * 10 + 1)
  await run.begin()
  const unseen = { reason: 'monitor-lost', status: null, outputComplete: false }
  const exits: Record<string, Expected> = { 'exit.reaped': { exit: unseen }, 'exit.drained': { exit: unseen }, 'exit.told': { exit: unseen }, 'exit.written': { exit: unseen }, 'exit.recorded': { exit: known } }
  const execExits: Record<string, Expected> = {
    'exec-exit.reaped': { exit: lost, execExit: unseen },
    'exec-exit.told': { exit: lost, execExit: unseen },
    'exec-exit.written': { exit: lost, execExit: unseen },
    'exec-exit.recorded': { exit: lost, execExit: execKnown }
  }
  const reconnections: Record<string, Expected> = { 'connect.accepted': { exit: lost }, 'connect.greeted': { exit: lost } }
  const all = [...Object.keys(exits), ...Object.keys(execExits), ...Object.keys(reconnections)]
  const pids = new Map<string, number>()
  await each(all, async (step) => {
    await run.prepare(step)
    const { answer } = await run.create(step, true)
    await daemon.trapped(step)
    pids.set(step, answer?.body.pid)
    if (execExits[step] === undefined) return
    pids.set(step, (await run.exec(step)).answer?.body.pid)
    await run.trapped(step)
  })
  await daemon.stop('SIGKILL')
  const ends = [...Object.keys(exits), ...Object.keys(execExits)]
  for (const step of all) await run.arm(step)
  for (const step of ends) process.kill(pids.get(step) ?? 0, 'SIGTERM')
  // A shim that ends takes its mark away first.
  for (const step of ends) while (existsSync(join(daemon.directory, 'bundles', step, 'failpoints', step))) await new Promise((resolve) => setTimeout(resolve, 5))
  await run.restart()
  await each(all, async (step) => { await run.ask('wait', step, 'GET', `/containers/${step}/wait`) })
  const { verdict, stories } = await run.end()
  for (const [what, list] of Object.entries(verdict)) t.same(list, [], what)
  for (const [step, expected] of Object.entries({ ...exits, ...execExits, ...reconnections })) judge(t, stories, step, expected)
  if (!t.passing()) t.comment(daemon.output.slice(-10_000))
})
