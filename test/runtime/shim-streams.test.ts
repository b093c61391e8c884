/** Input, followers and requests that are none, with a runtime that is a shell script. */
import t from 'tap'
import { execFile } from 'node:child_process'
import { open, readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { hasCode } from '../../src/errors.ts'
import type { MonitorEvent } from '../../src/native/index.ts'
import { Shim } from '../../src/runtime/shim.ts'
import { decodePacket, encodePacket, encodeWindow, packetType, payloadLimit, shimOp, type ShimPacket } from '../../src/runtime/shim-protocol.ts'
import type { Watch } from '../../src/runtime/watch.ts'
import { exitOf, finish, house, output } from '../support/shim.ts'

const text = (line: string): Uint8Array => new TextEncoder().encode(line)

/** Takes the connection away from the daemon's end, which gets it back by itself. */
async function interrupt (watch: Watch, runDir: string): Promise<void> {
  let tokens: Awaited<ReturnType<typeof watch.monitor.connectShim>> | undefined
  while (tokens === undefined) {
    try {
      tokens = await watch.monitor.connectShim(runDir)
    } catch (error) {
      // The daemon's end, coming back from the time before, was quicker.
      if (!hasCode(error, 'ECONNRESET')) throw error
    }
  }
  const { connection, process } = tokens
  watch.drop(process)
  await new Promise<void>((resolve) => watch.on(connection, (event) => { if (event.kind === 'hangup') resolve() }))
  watch.drop(connection)
}

t.test('what is put in comes out, and whoever follows is told', async (t) => {
  const { outDir, runDir, watch, spawn } = await house(t, 'while read -r line; do echo "got $line"; done; echo end; exit 6')
  const { shim, created } = await spawn()
  await created
  const followers = [0, 0, 1].map(async (offset) => await shim.follow(0, offset))
  const gone = new AbortController()
  const given = t.rejects(shim.follow(0, 0, gone.signal), { name: 'AbortError' })
  gone.abort()
  await given
  await interrupt(watch, runDir)
  await shim.input(0, text('one\n'))
  const [first] = await Promise.all(followers)
  t.match(first, { end: 16 + 8, ended: false })
  t.match(await shim.follow(0, 3), { end: 24, ended: false }, 'at once when it is so already')
  const later = shim.follow(0, 24)
  await interrupt(watch, runDir)
  await shim.input(0, text('two\n'))
  t.match(await later, { end: 48, ended: false }, 'over another connection')
  await shim.closeInput(0)
  await t.rejects(shim.input(0, text('x')), { code: 'EPIPE' })
  await shim.closeInput(0)
  t.match(await exitOf(shim), { waitStatus: 6 << 8, outputComplete: true })
  let { end, ended } = await shim.follow(0, 48)
  while (!ended) ({ end, ended } = await shim.follow(0, end))
  t.equal((await output(outDir)).map(({ text }) => text).join(''), 'got one\ngot two\nend\n')
  t.match(await shim.follow(0, 1e9), { ended: true }, 'nothing comes after the end')
  const last = shim.follow(0, 1e9)
  await finish(shim)
  await last
  t.match(await shim.follow(0, 5), { end: 5, ended: true }, 'nor from a shim that is gone')
  await t.rejects(shim.input(0, text('x')), { code: 'EPIPE' })
})

t.test('a process that does not read holds up who writes, and no byte is lost or doubled over connections', async (t) => {
  const { mode, outDir, runDir, watch, spawn } = await house(t, 'read -r _ < "$(dirname "$0")/gate"; exec cksum')
  await promisify(execFile)('mkfifo', [join(mode, 'gate')])
  const { shim, created } = await spawn()
  await created
  // A pipe holds four pieces (pipe(7): 64 KiB); the fifth stays in the shim, the sixth with the daemon.
  for (let i = 0; i < 4; i++) await shim.input(0, new Uint8Array(payloadLimit).fill(i))
  let written = false
  void shim.input(0, new Uint8Array(2 * payloadLimit).fill(9)).then(() => { written = true })
  for (let i = 0; i < 3; i++) await interrupt(watch, runDir)
  await shim.follow(9, 0)
  // Another daemon, with numbers of its own: its piece waits for the one that is there.
  shim.release()
  let next: Shim | undefined
  // Undefined while the daemon's end before it is still coming back.
  while (next === undefined) next = await Shim.connect(watch, runDir)
  await next.hello()
  let more = false
  const tail = next.input(0, text('tail')).then(() => { more = true })
  const closed = next.closeInput(0)
  await interrupt(watch, runDir)
  t.notOk(written)
  t.notOk(more)
  const gate = await open(join(mode, 'gate'), 'w')
  await gate.write('go\n')
  await gate.close()
  await Promise.all([tail, closed])
  t.match(await exitOf(next), { waitStatus: 0 })
  const [said] = await output(outDir)
  t.match(said?.text, new RegExp(`^\\d+ ${5 * payloadLimit + 4}\\b`), 'what the first daemon had handed over, and what the second did')
  await finish(next)
})

t.test('all of a large input arrives, piece by piece', async (t) => {
  const { outDir, runDir, watch, spawn } = await house(t, 'exec cksum')
  const { shim, created } = await spawn()
  await created
  const bytes = new Uint8Array(1_000_003).map((_, index) => index * 13 + (index >> 7))
  const done = shim.input(0, bytes)
  await interrupt(watch, runDir)
  await interrupt(watch, runDir)
  await done
  await shim.closeInput(0)
  await exitOf(shim)
  const sum = promisify(execFile)('cksum')
  sum.child.stdin?.end(bytes)
  t.equal((await output(outDir)).map(({ text }) => text).join(''), (await sum).stdout)
  await finish(shim)
})

t.test('input to a process that closed it, or ended while some was pending', async (t) => {
  const { mode, spawn } = await house(t, 'exec 0<&-; echo closed; read -r _ < "$(dirname "$0")/gate"')
  await promisify(execFile)('mkfifo', [join(mode, 'gate')])
  const { shim, created } = await spawn()
  await created
  await shim.follow(0, 0)
  await t.rejects(shim.input(0, text('x')), { code: 'EPIPE' })
  const pid = (await created).pid
  process.kill(pid, 'SIGKILL')
  await exitOf(shim)
  await finish(shim)

  const stuck = await house(t, 'exec sleep 1000')
  const other = await stuck.spawn()
  const { pid: victim } = await other.created
  const pending = t.rejects(other.shim.input(0, new Uint8Array(200_000)), { code: 'EPIPE' })
  await other.shim.follow(0, 0, AbortSignal.timeout(1)).catch(() => {})
  process.kill(victim, 'SIGKILL')
  await pending
  await exitOf(other.shim)
  await finish(other.shim)
})

t.test('slots that are none, wrong sizes and unknown words are refused or left alone', async (t) => {
  const { watch, runDir, spawn } = await house(t, 'exec sleep 1000')
  const { shim, created } = await spawn()
  const { pid } = await created
  shim.release()
  const { connection } = await watch.monitor.connectShim(runDir)
  const packets: ShimPacket[] = []
  let came = (): void => {}
  watch.on(connection, (event: MonitorEvent) => {
    const packet = event.kind === 'packet' ? decodePacket(event.packet.slice()) : undefined
    if (packet !== undefined) packets.push(packet)
    came()
  })
  const next = async (count: number): Promise<void> => { while (packets.length < count) await new Promise<void>((resolve) => { came = resolve }) }
  await next(1)
  const payload = new Uint8Array(8)
  const id = (name: string): Uint8Array => encodeWindow(80, 24, name)
  const asked: [Uint8Array, object | undefined][] = [
    [encodePacket(packetType.follow, { slot: 9, tag: 1 }), { type: packetType.notice, tag: 1, slot: 9, error: 3 }],
    [encodePacket(packetType.follow, { slot: 65535, tag: 2 }), { type: packetType.notice, tag: 2, slot: 65535, error: 3 }],
    [encodePacket(packetType.follow, { tag: 3, payload }), { type: packetType.notice, tag: 3, error: 22 }],
    [encodePacket(packetType.input, { slot: 256, tag: 4, payload }), { type: packetType.inputResult, tag: 4, slot: 256, error: 32 }],
    [encodePacket(packetType.input, { tag: 5 }), { type: packetType.inputResult, tag: 5, error: 22 }],
    [encodePacket(packetType.input, { tag: 6, payload: new Uint8Array(payloadLimit + 1) }), undefined],
    [encodePacket(packetType.resize, { payload: new Uint8Array(3) }), undefined],
    [encodePacket(packetType.resize, { slot: 300, payload: new Uint8Array(4) }), undefined],
    [encodePacket(packetType.closeInput, { slot: 300 }), undefined],
    [encodePacket(packetType.abort, { slot: 300 }), undefined],
    [encodePacket(packetType.ack, { slot: 300 }), undefined],
    [encodePacket(packetType.quit, { payload }), undefined],
    [encodePacket(packetType.op, { slot: 3, tag: 7, op: shimOp.start }), { type: packetType.result, tag: 7, error: 22 }],
    [encodePacket(packetType.op, { tag: 8, op: shimOp.exec, payload: id('x') }), { type: packetType.result, tag: 8, error: 22 }],
    [encodePacket(packetType.op, { slot: 256, tag: 9, op: shimOp.exec, payload: id('x') }), { type: packetType.result, tag: 9, error: 22 }],
    [encodePacket(packetType.op, { slot: 1, tag: 10, op: shimOp.exec, payload: id('') }), { type: packetType.result, tag: 10, error: 22 }],
    [encodePacket(packetType.op, { slot: 1, tag: 11, op: shimOp.exec, payload: id('../x') }), { type: packetType.result, tag: 11, error: 22 }],
    [encodePacket(packetType.op, { slot: 1, tag: 12, op: shimOp.exec, payload: id('x'.repeat(129)) }), { type: packetType.result, tag: 12, error: 22 }],
    [encodePacket(packetType.op, { slot: 1, tag: 13, op: shimOp.exec }), { type: packetType.result, tag: 13, error: 22 }]
  ]
  for (const [packet] of asked) watch.monitor.send(connection, packet)
  const wanted = asked.flatMap(([, answer]) => (answer === undefined ? [] : [answer]))
  await next(1 + wanted.length)
  t.match(packets.slice(1), wanted)
  process.kill(pid, 0)

  // Whoever asks and does not read is dropped; the shim and its container go on.
  const question = encodePacket(packetType.follow, { slot: 9 })
  for (;;) {
    try {
      watch.monitor.send(connection, question)
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) break
    }
  }
  watch.drop(connection)
  const after = await Shim.connect(watch, runDir)
  await after?.hello()
  t.equal(after?.initPid, pid)
  process.kill(pid, 'SIGKILL')
  if (after === undefined) return
  t.match(await exitOf(after), { waitStatus: 9 })
  await finish(after)
})

t.test('what comes of create, start and delete is told whichever connection was there when it came', async (t) => {
  const { mode, runDir, outDir, watch, spawn } = await house(t, 'while [ ! -e "$(dirname "$0")/go" ]; do :; done; exit 4')
  let rounds = 0
  const through = async <T>(result: Promise<T>): Promise<T> => {
    let over = false
    const settled = result.finally(() => { over = true })
    while (!over) {
      // Released while it was coming back, or gone: then there is nothing to take away.
      await interrupt(watch, runDir).catch(() => {})
      rounds++
    }
    return await settled
  }
  for (let turn = 0; turn < 8; turn++) {
    const { shim, created } = await spawn()
    t.match(await through(created), { waitStatus: 0, error: 0, pid: Number }, `create ${turn}`)
    t.match(await through(shim.start()), { waitStatus: 0, error: 0 }, `start ${turn}`)
    t.match(await exitOf(shim), { waitStatus: 4 << 8 })
    t.match(await through(shim.delete(false)), { waitStatus: 0, error: 0 }, `delete ${turn}`)
    t.match((await readFile(join(mode, 'deleted'), 'utf8')).trim().split('\n'), { length: 1 }, 'and it was done once')
    await finish(shim)
    for (const name of ['go', 'started', 'deleted']) await rm(join(mode, name), { force: true })
    for (const name of [...await readdir(outDir)]) await rm(join(outDir, name), { recursive: true })
    await rm(join(runDir, 'shim.sock'))
  }
  t.ok(rounds > 8, `${rounds} connections were taken away`)
})
