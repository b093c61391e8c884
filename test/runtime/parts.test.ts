import t from 'tap'
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseSignal, signalName } from '../../src/runtime/signals.ts'
import { nowNs } from '../../src/native/index.ts'
import { exitView, timestamp } from '../../src/runtime/exit.ts'
import { decodePacket, encodePacket, packetType, shimOp } from '../../src/runtime/shim-protocol.ts'
import { runtimeError } from '../../src/runtime/oci.ts'
import { Process } from '../../src/runtime/process.ts'

t.test('signals by name and number', async (t) => {
  for (const [given, number] of [['SIGTERM', 15], ['TERM', 15], ['term', 15], ['sigterm', 15], [15, 15], ['15', 15], [0, 0], ['0', 0], ['KILL', 9], ['SIGIOT', 6], ['SIGRTMIN', 34], ['RTMIN+1', 35], ['SIGRTMAX', 64], ['rtmax-1', 63], [64, 64], [33, 33]] as const) {
    t.equal(parseSignal(given), number, String(given))
  }
  for (const given of ['', 'SIG', 'SIGFOO', '65', 65, -1, 1.5, NaN, 'RTMIN+31', '0x9', ' TERM', '1e1']) {
    t.throws(() => parseSignal(given), { code: 'invalid_signal' }, String(given))
  }
  t.equal(signalName(6), 'SIGABRT')
  t.equal(signalName(29), 'SIGIO')
  t.equal(signalName(34), 'SIGRTMIN')
  t.equal(signalName(35), 'SIGRTMIN+1')
})

t.test('what wait(2) gives becomes an exit, and nothing is invented', async (t) => {
  const facts = { exitedAtNs: 1_700_000_000_123_456_789n, oomKills: 0, outputComplete: true }
  t.match(exitView({ ...facts, waitStatus: 42 << 8 }), { status: 42, signal: null, reason: 'exited', oomKilled: false, exitedAt: '2023-11-14T22:13:20.123456789Z' })
  t.match(exitView({ ...facts, waitStatus: 9 }), { status: 137, signal: 'SIGKILL', reason: 'signaled' })
  t.match(exitView({ ...facts, waitStatus: 11 | 0x80 }), { status: 139, signal: 'SIGSEGV' }, 'a core dump is a bit beside the signal')
  t.match(exitView({ ...facts, waitStatus: 9, oomKills: 1 }), { status: 137, reason: 'oom', oomKilled: true })
  t.match(exitView({ ...facts, waitStatus: 0, oomKills: 2 }), { status: 0, reason: 'exited', oomKilled: true }, 'a child was killed, init was not')
  t.match(exitView({ ...facts, waitStatus: null, reason: 'host-rebooted' }), { status: null, signal: null, reason: 'host-rebooted' })
})

t.test('times have nanoseconds and do not go back', async (t) => {
  t.equal(timestamp(0n), '1970-01-01T00:00:00.000000000Z')
  let last = nowNs()
  for (let i = 0; i < 10_000; i++) {
    const now = nowNs()
    if (now < last) t.fail('went back')
    last = now
  }
  t.ok(Math.abs(Number(last / 1_000_000n) - Date.now()) < 50)
})

t.test('packets of the shim', async (t) => {
  const packet = encodePacket(packetType.op, { tag: 7, op: shimOp.start })
  t.match(decodePacket(packet), { type: 16, tag: 7, op: 2, pid: 0 })
  t.equal(decodePacket(packet.subarray(1)), undefined)
  t.equal(decodePacket(new Uint8Array(64)), undefined, 'another version')
})

t.test("the runtime's words tell 127 from 126", async (t) => {
  const failed = { waitStatus: 1 << 8, error: 0, pid: 0 }
  for (const [words, status] of [
    ['unable to start container process: exec: "/x": stat /x: no such file or directory: unknown', 127],
    ['exec: "x": executable file not found in $PATH: unknown', 127],
    ['executable file `x` not found in $PATH: No such file or directory', 127],
    ['exec: "/x": permission denied: unknown', 126],
    ['open executable: Permission denied', 126],
    ['exec /x: exec format error', 126],
    ['invalid rootfs', undefined]
  ] as const) t.equal(runtimeError('runtime create', failed, words).extra.exitStatus, status, words)
  t.equal(runtimeError('runtime create', { ...failed, waitStatus: 9 }, undefined).code, 'runtime_crashed')
  t.equal(runtimeError('runtime create', { ...failed, error: 2 }, undefined).code, 'runtime_not_found')
})

t.test('the record of a process does not come back once its container has been removed', async (t) => {
  const directory = join(t.testdir(), 'containers/one/run/processes/p')
  const process = new Process('p', { args: ['/bin/true'] }, directory)
  await process.save()
  process.status = 'running'
  await process.save()
  const text = await readFile(join(directory, 'process.json'), 'utf8')
  t.match(JSON.parse(text), { phase: 'running' })
  await rm(join(directory, '../../../..'), { recursive: true })
  await process.save()
  await Process.parse(text, directory).save()
  t.notOk(existsSync(join(directory, '../../../..')))
})
