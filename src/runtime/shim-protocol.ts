/**
 * The packets between daemon and shim: the same 64 bytes as `struct shim_packet`
 * in src/native/shim/protocol.h, in the machine's byte order.
 */
export const protocolVersion = 1
const packetSize = 64

export const packetType = { hello: 1, result: 2, exit: 3, op: 16, abort: 17, ack: 18, quit: 19 } as const
export const shimOp = { create: 1, start: 2, delete: 3, deleteForce: 4 } as const
export const shimState = { creating: 1, created: 2, running: 3, exited: 4, deleted: 5, createFailed: 6 } as const
export const shimFlag = { outputComplete: 1, oomKnown: 2, started: 4 } as const

export type ShimPacket = {
  type: number
  tag: number
  op: number
  /** init's pid as the host sees it, 0 when there is none */
  pid: number
  /** raw wait(2) status of the runtime (result) or of init (exit, hello) */
  waitStatus: number
  /** errno when the shim itself failed to run the runtime */
  error: number
  state: number
  flags: number
  oomKills: number
  /** CLOCK_REALTIME of the fact, nanoseconds */
  timeNs: bigint
  lostBytes: number
  shimPid: number
}

const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Undefined for a packet of another size or version. */
export function decodePacket (bytes: Uint8Array): ShimPacket | undefined {
  if (bytes.byteLength !== packetSize) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, packetSize)
  if (view.getUint16(2, little) !== protocolVersion) return undefined
  return {
    type: view.getUint16(0, little),
    tag: view.getUint32(4, little),
    op: view.getInt32(8, little),
    pid: view.getInt32(12, little),
    waitStatus: view.getInt32(16, little),
    error: view.getInt32(20, little),
    state: view.getUint32(24, little),
    flags: view.getUint32(28, little),
    oomKills: Number(view.getBigUint64(32, little)),
    timeNs: view.getBigInt64(40, little),
    lostBytes: Number(view.getBigInt64(48, little)),
    shimPid: view.getInt32(56, little)
  }
}

/** A packet from the daemon: a type, and for an op its tag and number. */
export function encodePacket (type: number, tag = 0, op = 0): Uint8Array {
  const bytes = new Uint8Array(packetSize)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, type, little)
  view.setUint16(2, protocolVersion, little)
  view.setUint32(4, tag, little)
  view.setInt32(8, op, little)
  return bytes
}
