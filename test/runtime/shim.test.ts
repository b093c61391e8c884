/** The shim, driven as the daemon drives it, with a runtime that is a shell script. */
import t from 'tap'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { shimPath } from '../../src/native/index.ts'
import { Shim } from '../../src/runtime/shim.ts'
import { encodePacket, packetType } from '../../src/runtime/shim-protocol.ts'
import { readExitRecord } from '../../src/supervisor/exit-record.ts'
import { exitOf, finish, house, output, recordOf } from '../support/shim.ts'

t.test('an exit is on disk, and is told until it was acknowledged', async (t) => {
  const { outDir, runDir, watch, spawn } = await house(t, 'exec sleep 1000')
  const { shim, created } = await spawn()
  t.match(await created, { waitStatus: 0, error: 0, pid: Number })
  shim.signalInit(0)
  shim.release()
  const second = await Shim.connect(watch, runDir)
  await second?.hello()
  t.equal(second?.exit, undefined, 'it lives')
  t.equal(second?.initPid, (await created).pid)
  second?.release()

  process.kill((await created).pid, 'SIGKILL')
  // Nobody is connected: the exit goes to disk and waits for whoever comes.
  const record = await recordOf(outDir, 'init')
  t.match(record, { waitStatus: 9, outputComplete: true, oomKills: null, started: false })
  t.equal((await stat(join(outDir, 'init.exit'))).mode & 0o777, 0o600)
  for (const time of ['first', 'second'] as const) {
    const again = await Shim.connect(watch, runDir)
    await again?.hello()
    t.match(again?.exit, { ...record, started: undefined }, `told to the ${time} that asks`)
    if (time === 'first') again?.release()
    else if (again !== undefined) await finish(again)
  }
  t.equal(await Shim.connect(watch, runDir), undefined, 'nobody listens any more')
})

t.test("the end of init is the shim's to tell; of one that is stopped or lost init's pidfd tells", async (t) => {
  for (const fate of ['well', 'stopped', 'lost'] as const) {
    const { spawn } = await house(t, 'exec sleep 1000')
    const { shim, created } = await spawn()
    const { pid } = await created
    const told: string[] = []
    const shown = new Promise<void>((resolve) => {
      shim.onInitEnded = () => {
        told.push('pidfd')
        resolve()
      }
    })
    const heard = new Promise<void>((resolve) => {
      shim.onExit = () => {
        told.push('shim')
        resolve()
      }
    })
    if (fate !== 'well') process.kill(shim.pid, 'SIGSTOP')
    process.kill(pid, 'SIGKILL')
    if (fate === 'lost') process.kill(shim.pid, 'SIGKILL')
    if (fate !== 'well') await shown
    if (fate === 'stopped') process.kill(shim.pid, 'SIGCONT')
    if (fate !== 'lost') await heard
    t.same(told, { well: ['shim'], stopped: ['pidfd', 'shim'], lost: ['pidfd'] }[fate], fate)
    if (fate === 'lost') await shim.ended
    else await finish(shim)
  }
})

t.test('started, ended before the start has returned, deleted', async (t) => {
  const { directory, mode, outDir, spawn } = await house(t, `exec ${process.execPath} -e 'require("fs").readFileSync(process.argv[1]); process.exit(41)' "$(dirname "$0")/go"`)
  await promisify(execFile)('mkfifo', [join(mode, 'go')])
  const { shim, created } = await spawn()
  await created
  t.match(await shim.start(), { waitStatus: 0, error: 0 })
  t.match(await exitOf(shim), { waitStatus: 41 << 8 })
  t.match(await recordOf(outDir, 'init'), { waitStatus: 41 << 8, started: true })
  t.match(await shim.delete(true), { waitStatus: 0, error: 0 })
  t.equal(await readFile(join(mode, 'deleted'), 'utf8'), `${mode} delete --force box\n`)
  t.ok((await stat(join(directory, 'run/pid'))).isFile())
  await finish(shim)
})

t.test('an init that ends before its pid is known', async (t) => {
  const { spawn, watch } = await house(t, 'exit 5', 'linger')
  watch.monitor.openProcess = (pid) => {
    t.fail('the pid of one that was reaped may be another\'s', { pid })
    return 0
  }
  const { shim, created } = await spawn()
  t.match(await created, { waitStatus: 0, error: 0 })
  t.match(await exitOf(shim), { waitStatus: 5 << 8 })
  await finish(shim)
})

t.test("an init that was somebody else's child, and has ended: there is no status, and that is said", async (t) => {
  const { spawn } = await house(t, 'exit 5', 'reaped')
  const { shim, created } = await spawn()
  t.match(await created, { waitStatus: 0, error: 0 })
  t.equal(shim.initStatus, null)
  t.equal(shim.exit, undefined)
  shim.kill()
  await shim.ended
})

t.test('a runtime that hangs is ended, one that refuses is heard, one that is not there is told', async (t) => {
  const hung = await house(t, '', 'hang')
  const hanging = await hung.spawn()
  hanging.shim.abort()
  t.match(await hanging.created, { waitStatus: 9, pid: 0 })
  await finish(hanging.shim)

  const refusing = await house(t, '', 'refuse')
  const refused = await refusing.spawn()
  t.match(await refused.created, { waitStatus: 3 << 8, pid: 0 })
  t.match(await output(refusing.outDir), [{ stream: 2, text: 'not this one\n' }])
  await finish(refused.shim)

  const missing = await house(t, '')
  const { shim, created } = await missing.spawn({ runtime: '/no/such/runtime' })
  t.match(await created, { error: 2, pid: 0 })
  await finish(shim)
})

t.test('output is kept in order, in segments of a bounded size, and the newest stay', async (t) => {
  const { outDir, spawn } = await house(t, 'echo one; echo two >&2; i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo "line $i"; done')
  const { shim, created } = await spawn()
  await created
  t.match(await exitOf(shim), { waitStatus: 0, outputComplete: true })
  const names = (await readdir(outDir)).filter((name) => name.endsWith('.log')).sort()
  t.ok(names.length <= 3, names.join(' '))
  for (const name of names) t.equal((await stat(join(outDir, name))).mode & 0o777, 0o600)
  // Order is that within a stream: what came on the other one may be read last.
  const kept = (await output(outDir)).filter(({ stream }) => stream === 1).map(({ text }) => text).join('')
  t.ok(kept.endsWith('line 1999\nline 2000\n'))
  const numbers = [...kept.matchAll(/^line (\d+)\n/gm)].map(([, n]) => Number(n))
  t.same(numbers, Array.from({ length: numbers.length }, (_, index) => (numbers[0] ?? 0) + index), 'no hole')
  const offsets = names.map((name) => Number(/\d+/.exec(name)?.[0]))
  for (const [index, name] of names.entries()) {
    const next = offsets[index + 1]
    if (next !== undefined) t.equal((offsets[index] ?? 0) + (await stat(join(outDir, name))).size, next, 'a name is the offset of its first byte')
  }
  await finish(shim)
})

t.test('a background child that holds the output does not delay the exit, which says so', async (t) => {
  const { outDir, spawn } = await house(t, 'exec 2> /dev/null; sleep 1000 & echo $!; exit 3')
  const { shim, created } = await spawn()
  await created
  t.match(await exitOf(shim), { waitStatus: 3 << 8, outputComplete: false })
  const [said] = await output(outDir)
  process.kill(Number(said?.text), 'SIGKILL')
  await finish(shim)
})

t.test('what it does not understand it leaves alone', async (t) => {
  const { watch, runDir, spawn } = await house(t, 'exec sleep 1000')
  const { shim, created } = await spawn()
  const { pid } = await created
  shim.release()
  const { connection } = await watch.monitor.connectShim(runDir)
  const packets: Uint8Array[] = []
  let came = (): void => {}
  let replaced = (): void => {}
  const hangup = new Promise<void>((resolve) => { replaced = resolve })
  watch.on(connection, (event) => {
    if (event.kind === 'hangup') replaced()
    else if (event.kind === 'packet') { packets.push(event.packet.slice()); came() }
  })
  await new Promise<void>((resolve) => { came = resolve })
  const otherVersion = encodePacket(packetType.quit)
  otherVersion[2] = 99
  for (const packet of [new Uint8Array(1), new Uint8Array(63), new Uint8Array(64), new Uint8Array(4000).fill(255), new Uint8Array(64 + 16 * 1024 + 1).fill(255), otherVersion, encodePacket(packetType.quit), encodePacket(77)]) watch.monitor.send(connection, packet)
  watch.monitor.send(connection, encodePacket(packetType.op, { tag: 5, op: 99 }))
  await new Promise<void>((resolve) => { came = resolve })
  t.equal(packets.length, 2, 'the hello and one answer')
  t.equal(new DataView(packets[1]?.buffer ?? new ArrayBuffer(64)).getInt32(20, true), 22, 'EINVAL')
  process.kill(pid, 0)

  const newer = await Shim.connect(watch, runDir)
  t.ok(newer, 'who comes later')
  await hangup
  t.pass('replaces who was there')
  process.kill(pid, 'SIGKILL')
  if (newer === undefined) return
  await exitOf(newer)
  await finish(newer)
})

t.test('a record that cannot be written is told all the same, and is written when it can be, also while others chat', async (t) => {
  const { outDir, runDir, spawn } = await house(t, 'exec sleep 1000')
  const { shim, created } = await spawn()
  const { pid } = await created
  await mkdir(join(outDir, 'processes', 'chat'), { recursive: true })
  const chat = shim.processes.take('chat')
  await writeFile(join(runDir, `exec-${chat.slot}.json`), 'while echo word; do sleep 0.1; done')
  await shim.processes.start(chat, { terminal: false, noInput: true, window: { width: 80, height: 24 } })
  await rename(outDir, `${outDir}.away`)
  process.kill(pid, 'SIGTERM')
  t.match(await exitOf(shim), { waitStatus: 15 })
  t.equal(await readExitRecord(outDir, 'init'), undefined)
  await rename(`${outDir}.away`, outDir)
  t.match(await recordOf(outDir, 'init'), { waitStatus: 15 })
  chat.signal(9)
  await finish(shim)
})

t.test('asked to stop, it goes though the directory of its record was removed', async (t) => {
  const { outDir, spawn } = await house(t, 'exec sleep 1000')
  const { shim, created } = await spawn()
  const { pid } = await created
  await rm(outDir, { recursive: true })
  shim.release()
  process.kill(shim.pid, 'SIGTERM')
  const ended = async (pid: number): Promise<boolean> => /^gone|\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => 'gone'))
  while (!await ended(shim.pid));
  t.ok(await ended(pid))
})

t.test('asked to stop from outside it asks its container, and goes when that has ended', async (t) => {
  const { outDir, spawn } = await house(t, "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done")
  const { shim, created } = await spawn()
  await created
  while ((await output(outDir)).length === 0);
  shim.release()
  process.kill(shim.pid, 'SIGTERM')
  t.match(await recordOf(outDir, 'init'), { waitStatus: 4 << 8 })
})

t.test('bad arguments end it at once, with a word', async (t) => {
  for (const args of [[], ['--id'], ['--id', 'a', '--bundle', '/', '--out', '/'], ['--log-bytes', '12', '--', 'runc'], ['--what', 'x', '--', 'runc']]) {
    const child = spawn(shimPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let words = ''
    child.stderr.on('data', (chunk: Buffer) => { words += chunk.toString() })
    const [status] = await once(child, 'close') as [number]
    t.equal(status, 100)
    t.match(words, /^longshore-shim: /)
  }
})
