/** A start without a call of the runtime, by the fifo at which runc's init waits; the runtime's own start is called where that cannot be. */
import t, { type Test } from 'tap'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Shim } from '../../src/runtime/shim.ts'
import { exitOf, finish, house, output, recordOf, type House } from '../support/shim.ts'

/** what runc's init does (libcontainer/standard_init_linux.go): opens the fifo for writing, which waits for a reader, writes a byte, executes the command, which closes it */
const init = (command: string): string => `printf 0 > "$(dirname "$0")/exec.fifo"; ${command}`

type Made = House & { fifo: string, shim: Shim, pid: number, called: () => boolean }

async function made (t: Test, script: string, flag?: string): Promise<Made> {
  const home = await house(t, script, flag)
  const fifo = join(home.mode, 'exec.fifo')
  await promisify(execFile)('mkfifo', [fifo])
  const { shim, created } = await home.spawn({ startFifo: fifo })
  const { pid } = await created
  return { ...home, fifo, shim, pid, called: () => existsSync(join(home.mode, 'started')) }
}

async function end ({ shim, pid }: Made): Promise<void> {
  if (shim.exit === undefined) process.kill(pid, 'SIGKILL')
  await exitOf(shim)
  await finish(shim)
}

t.test('init is let go, and the fifo is gone', async (t) => {
  const it = await made(t, init('echo on; exec sleep 1000'), 'start-refuse')
  t.same(await output(it.outDir), [], 'it waits')
  t.match(await it.shim.start(), { waitStatus: 0, error: 0 })
  while ((await output(it.outDir)).length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(existsSync(it.fifo), false)
  t.equal(it.called(), false, 'without the runtime')
  t.match(await it.shim.start(), { waitStatus: 4 << 8 }, 'once more')
  t.equal(it.called(), true, 'is for the runtime to judge')
  process.kill(it.pid, 'SIGKILL')
  t.match(await exitOf(it.shim), { waitStatus: 9 })
  t.match(await recordOf(it.outDir, 'init'), { waitStatus: 9, started: true })
  await finish(it.shim)
})

t.test('init ends at once: it had started, and its own status is told', async (t) => {
  for (let round = 0; round < 5; round++) {
    const it = await made(t, init('exit 41'))
    t.match(await it.shim.start(), { waitStatus: 0, error: 0 })
    t.match(await exitOf(it.shim), { waitStatus: 41 << 8 })
    t.match(await recordOf(it.outDir, 'init'), { waitStatus: 41 << 8, started: true })
    t.equal(it.called(), false)
    await end(it)
  }
})

t.test('a start lasts until the command is executed: what runs before that belongs to it', async (t) => {
  const it = await made(t, 'cd "$(dirname "$0")"; exec 5> exec.fifo; printf 0 >&5; echo > said; while [ ! -e go-on ]; do :; done; exec sleep 1000 5>&-')
  const start = it.shim.start()
  while (!existsSync(join(it.mode, 'said'))) await new Promise((resolve) => setImmediate(resolve))
  t.match(await it.shim.delete(true), { error: 16 }, 'EBUSY')
  t.equal(existsSync(it.fifo), true)
  await writeFile(join(it.mode, 'go-on'), '')
  t.match(await start, { waitStatus: 0, error: 0 })
  t.equal(existsSync(it.fifo), false)
  t.equal(it.called(), false)
  await end(it)
})

t.test('init ends before it goes on: the start fails, in the words of the runtime', async (t) => {
  // It does not come to the fifo until it is killed.
  const it = await made(t, 'exec sleep 1000', 'start-refuse')
  const start = it.shim.start()
  process.kill(it.pid, 'SIGKILL')
  t.match(await start, { waitStatus: 4 << 8, error: 0 })
  t.match(await exitOf(it.shim), { waitStatus: 9 })
  t.match(await recordOf(it.outDir, 'init'), { started: false })
  t.equal(it.called(), true)
  await end(it)
})

t.test('a writer that comes and says nothing, or none at all: the runtime starts it', async (t) => {
  for (const script of [': > "$(dirname "$0")/exec.fifo"; exec sleep 1000', 'exec sleep 1000']) {
    const it = await made(t, script, 'start-refuse')
    t.match(await it.shim.start(), { waitStatus: 4 << 8, error: 0 }, script)
    t.equal(it.called(), true)
    await end(it)
  }
})

t.test('a start under way is ended when asked, and no other call begins meanwhile', async (t) => {
  const it = await made(t, 'exec 4<> "$(dirname "$0")/exec.fifo"; exec sleep 1000')
  const start = it.shim.start()
  t.match(await it.shim.start(), { error: 16 }, 'EBUSY')
  t.match(await it.shim.delete(true), { error: 16 })
  it.shim.abort()
  t.match(await start, { waitStatus: 9, error: 0 })
  t.equal(it.called(), false)
  t.match(await it.shim.delete(true), { waitStatus: 0, error: 0 }, 'then it may')
  await end(it)
})

t.test('what is no fifo is not read', async (t) => {
  const home = await house(t, 'exec sleep 1000', 'start-refuse')
  const fifo = join(home.mode, 'exec.fifo')
  await writeFile(fifo, '0')
  const { shim, created } = await home.spawn({ startFifo: fifo })
  const { pid } = await created
  t.match(await shim.start(), { waitStatus: 4 << 8 })
  t.equal(existsSync(fifo), true)
  await end({ ...home, fifo, shim, pid, called: () => true })
})
