/** The connection to a shim when it breaks, with a monitor that does what the test says. */
import t from 'tap'
import { setImmediate as turn } from 'node:timers/promises'
import type { MonitorEvent } from '../../src/native/index.ts'
import { ShimConnection } from '../../src/runtime/shim-connection.ts'
import { encodePacket, packetType } from '../../src/runtime/shim-protocol.ts'
import type { Watch } from '../../src/runtime/watch.ts'

type Tokens = { pid: number, process: number, connection: number }

function broken (): { connection: ShimConnection, told: string[], open: Set<number>, event: (token: number, event: object) => void, sent: Uint8Array[], connected: PromiseWithResolvers<Tokens>, fail: { code: string | undefined } } {
  const handlers = new Map<number, (event: MonitorEvent) => void>()
  const open = new Set([1])
  const told: string[] = []
  const sent: Uint8Array[] = []
  const fail: { code: string | undefined } = { code: undefined }
  const connected = Promise.withResolvers<Tokens>()
  const watch = {
    monitor: {
      send: (_token: number, packet: Uint8Array) => {
        if (fail.code !== undefined) throw Object.assign(new Error('on purpose'), { code: fail.code })
        sent.push(packet)
      },
      connectShim: () => connected.promise
    },
    on: (token: number, handler: (event: MonitorEvent) => void) => handlers.set(token, handler),
    drop: (token: number) => { handlers.delete(token); open.delete(token) }
  } as unknown as Watch
  const connection = new ShimConnection(watch, '/nowhere', 1, {
    packet: () => told.push('packet'),
    renewed: () => told.push('renewed'),
    over: () => told.push('over')
  })
  const event = (token: number, event: object): void => handlers.get(token)?.({ token, ...event } as MonitorEvent)
  return { connection, told, open, event, sent, connected, fail }
}

t.test('a shim that ends while it is connected to again is over once, and what it still says is heard before', async (t) => {
  const { connection, told, open, event, connected } = broken()
  event(1, { kind: 'hangup' })
  connection.ended()
  t.same(told, [])
  open.add(2).add(3)
  connected.resolve({ pid: 1, process: 2, connection: 3 })
  await turn()
  event(3, { kind: 'packet', packet: encodePacket(packetType.hello), pidfd: null })
  event(3, { kind: 'hangup' })
  t.same(told, ['renewed', 'packet', 'over'])
  t.equal(open.size, 0)
})

t.test('one that cannot be connected to any more is over once', async (t) => {
  const { connection, told, event, connected } = broken()
  event(1, { kind: 'hangup' })
  connection.ended()
  connected.reject(Object.assign(new Error('on purpose'), { code: 'ECONNREFUSED' }))
  await turn()
  t.same(told, ['over'])
})

t.test('one that ends between two tries is over at once', async (t) => {
  const { connection, told, event, connected } = broken()
  event(1, { kind: 'hangup' })
  connected.reject(Object.assign(new Error('on purpose'), { code: 'ECONNREFUSED' }))
  await turn()
  t.same(told, [])
  connection.ended()
  t.same(told, ['over'])
})

t.test('what the kernel has no room for is sent when it has', async (t) => {
  for (const code of ['EAGAIN', 'ENOBUFS', 'ENOMEM']) {
    const { connection, sent, fail } = broken()
    fail.code = code
    connection.send(new Uint8Array(64))
    connection.send(new Uint8Array(65))
    t.same(sent, [])
    fail.code = undefined
    while (sent.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    t.same(sent.map(({ length }) => length), [64, 65], code)
    connection.release()
  }
})
