/** Bytes from outside: packets of a shim that is broken or not ours, cut and changed ones, in any order; and the log's records likewise. */
import t from 'tap'
import fc from 'fast-check'
import type { MonitorEvent } from '../../src/native/index.ts'
import { parseRecords } from '../../src/runtime/log-format.ts'
import { decodePacket, encodePacket, packetType, shimOp, shimState } from '../../src/runtime/shim-protocol.ts'
import { Shim } from '../../src/runtime/shim.ts'
import type { Watch } from '../../src/runtime/watch.ts'
import { logRecord } from '../support/log-writer.ts'

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
const runs = Number(process.env.RUNS ?? 300)
t.comment(`seed ${seed}`)
const check = <Args extends [unknown, ...unknown[]]>(property: fc.IProperty<Args>): void => { fc.assert(property, { seed, numRuns: runs }) }

const bytes = (most: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: most })

t.test('a packet is what was sent, or none', async (t) => {
  check(fc.property(fc.record({ type: fc.integer({ min: 0, max: 65535 }), tag: fc.nat(0xffffffff), op: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), flags: fc.nat(0xffffffff), count: fc.maxSafeNat(), slot: fc.nat(65535), payload: bytes(300) }), bytes(9),
    (sent, before) => {
      const whole = encodePacket(sent.type, sent)
      // Packets of one turn lie one behind the other in one piece of memory.
      const memory = new Uint8Array(before.length + whole.length)
      memory.set(whole, before.length)
      const { type, tag, op, flags, count, slot, payload } = decodePacket(memory.subarray(before.length)) ?? {}
      return type === sent.type && tag === sent.tag && op === sent.op && flags === sent.flags && count === sent.count && slot === sent.slot && Buffer.compare(payload ?? new Uint8Array(1), sent.payload) === 0
    }))
  check(fc.property(bytes(200), (any) => {
    const packet = decodePacket(any)
    return any.length < 64 ? packet === undefined : packet === undefined || packet.payload.length === any.length - 64
  }))
  t.pass('for all')
})

/** A shim that says what it likes: mostly words that are words, in slots that are there, with something wrong about them. */
const words: fc.Arbitrary<{ packet: Uint8Array, pidfd: boolean }> = fc.record({
  pidfd: fc.boolean(),
  packet: fc.oneof(
    {
      weight: 8, arbitrary: fc.record({
        type: fc.constantFrom(...Object.values(packetType), 99), slot: fc.oneof(fc.nat(3), fc.constantFrom(255, 256, 65535)), tag: fc.nat(4), op: fc.constantFrom(...Object.values(shimOp), 0, 77),
        pid: fc.constantFrom(0, 0, 4242, 4243, -1), state: fc.constantFrom(...Object.values(shimState), 0, 99), flags: fc.nat(63), count: fc.nat(1000), status: fc.constantFrom(0, 9, 256, -1), id: fc.constantFrom('a', 'b', '', '\xff\0')
      }).map(({ type, slot, tag, op, pid, state, flags, count, status, id }) => {
        const packet = encodePacket(type, { slot, tag, op, flags, count, ...(type === packetType.process ? { payload: Buffer.from(id, 'latin1') } : {}) })
        const view = new DataView(packet.buffer)
        view.setInt32(12, pid, true)
        view.setInt32(16, status, true)
        view.setUint32(24, state, true)
        return packet
      })
    },
    { weight: 1, arbitrary: bytes(100) },
    {
      weight: 1, arbitrary: fc.tuple(fc.nat(63), fc.nat(255), fc.constantFrom(...Object.values(packetType))).map(([at, value, type]) => {
        const packet = encodePacket(type)
        packet[at] = value
        return packet
      })
    },
    { weight: 1, arbitrary: fc.nat(63).map((length) => encodePacket(packetType.hello).subarray(0, length)) }
  )
})

t.test('whatever a shim says, in whatever order: nothing is thrown, each end is told once, and every descriptor is given back', async (t) => {
  check(fc.property(fc.array(words, { maxLength: 40 }), fc.boolean(), (said, dead) => {
    const handlers = new Map<number, (event: MonitorEvent) => void>()
    const open = new Set<number>([1, 2])
    let tokens = 2
    const watch = {
      monitor: {
        send: () => {},
        signal: () => {},
        connectShim: async () => await new Promise(() => {}),
        openProcess: (pid: number) => {
          if (dead || pid < 0) throw Object.assign(new Error('no such process'), { code: 'ESRCH' })
          open.add(++tokens)
          return tokens
        }
      },
      on: (token: number, handler: (event: MonitorEvent) => void) => handlers.set(token, handler),
      drop: (token: number | undefined) => {
        if (token === undefined) return
        handlers.delete(token)
        open.delete(token)
      }
    } as unknown as Watch
    // any: its constructor is nobody else's to call
    const shim = new (Shim as any)(watch, '/nowhere', { pid: 1000, process: 1, connection: 2 }) as Shim
    const told: string[] = []
    shim.onExit = () => told.push('exit')
    shim.onInitEnded = () => told.push('init')
    const taken = shim.processes.take('a')
    taken.onExit = () => told.push('a')
    shim.processes.start(taken, { terminal: false, noInput: true, window: { width: 80, height: 24 } }).catch(() => {})
    void shim.follow(0, 10)
    void shim.input(0, new Uint8Array(3)).catch(() => {})
    shim.start().catch(() => {})
    for (const { packet, pidfd } of said) {
      if (pidfd) open.add(++tokens)
      handlers.get(2)?.({ kind: 'packet', token: 2, packet, pidfd: pidfd ? tokens : null })
      // At times whoever it named comes to an end.
      if (packet.length % 3 === 0 && pidfd) handlers.get(tokens)?.({ kind: 'exit', token: tokens, status: null, final: packet.length % 2 === 0 })
    }
    const twice = told.length !== new Set(told).size
    shim.release()
    return !twice && open.size === 0
  }))
  t.pass('for all')
})

t.test('records of a log that is cut anywhere are those before the cut; of one that is changed anywhere, none is made of nothing', async (t) => {
  const written = fc.array(fc.tuple(fc.constantFrom(1, 2), bytes(60)), { minLength: 1, maxLength: 12 })
  check(fc.property(written, fc.nat(), fc.nat(1000), (records, cut, start) => {
    const parts = records.map(([stream, text]) => logRecord(stream, Buffer.from(text), 5n))
    const log = Buffer.concat(parts)
    const at = cut % (log.length + 1)
    const { records: read, used, need } = parseRecords(log.subarray(0, at), start)
    let end = 0
    const whole = parts.filter((part) => (end += part.length) <= at)
    const length = whole.reduce((sum, part) => sum + part.length, 0)
    return read.length === whole.length && used === length && (need ?? 0) > at - used && read.every((record, index) => record.kind === 'output' && Buffer.compare(record.bytes, Buffer.from(records[index]?.[1] ?? [])) === 0)
  }))
  check(fc.property(written, fc.nat(), fc.nat(255), (records, place, value) => {
    const log = Buffer.concat(records.map(([stream, text]) => logRecord(stream, Buffer.from(text), 5n)))
    log[place % log.length] = value
    const { records: read, used } = parseRecords(log, 0)
    let next = 0
    for (const record of read) {
      if (record.start !== next || record.next <= record.start || record.next > log.length) return false
      next = record.next
    }
    return used === next
  }))
  check(fc.property(bytes(400), (any) => parseRecords(Buffer.from(any), 0).used <= any.length))
  t.pass('for all')
})
