/**
 * The packets between daemon and shim: the same 64 bytes as `struct shim_packet`
 * in src/native/shim/protocol.h, in the machine's byte order, and a payload behind them where the type has one.
 */
export const protocolVersion = 2
const headerSize = 64
/** bytes */
export const payloadLimit = 16 * 1024
/** 0 is init; the others are for what is executed beside it */
export const slotCount = 256

export const packetType = {
  hello: 1, result: 2, exit: 3, process: 4, free: 5, notice: 6, inputResult: 7,
  op: 16, abort: 17, ack: 18, quit: 19, follow: 20, input: 21, closeInput: 22, resize: 23
} as const
export const shimOp = { create: 1, start: 2, delete: 3, deleteForce: 4, exec: 5 } as const
export const shimState = { creating: 1, created: 2, running: 3, exited: 4, deleted: 5, createFailed: 6 } as const
export const shimFlag = { outputComplete: 1, oomKnown: 2, started: 4, ended: 8, terminal: 16, noInput: 32 } as const

export type ShimPacket = {
  type: number
  tag: number
  op: number
  /** of the slot's process as the host sees it, 0 when there is none */
  pid: number
  /** raw wait(2) status of the runtime (result) or of the process (exit, hello, process) */
  waitStatus: number
  /** errno when the shim itself failed to do it */
  error: number
  state: number
  flags: number
  /** OOM kills (exit, hello, process), or an offset in the log (notice) */
  count: number
  /** CLOCK_REALTIME of the fact, nanoseconds */
  timeNs: bigint
  lostBytes: number
  shimPid: number
  slot: number
  payload: Uint8Array
}

const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Undefined for a packet of another size or version. */
export function decodePacket (bytes: Uint8Array): ShimPacket | undefined {
  if (bytes.byteLength < headerSize) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerSize)
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
    count: Number(view.getBigUint64(32, little)),
    timeNs: view.getBigInt64(40, little),
    lostBytes: Number(view.getBigInt64(48, little)),
    shimPid: view.getInt32(56, little),
    slot: view.getUint16(60, little),
    payload: bytes.subarray(headerSize)
  }
}

type Fields = { tag?: number, op?: number, flags?: number, count?: number, slot?: number, payload?: Uint8Array }

/** A packet from the daemon. */
export function encodePacket (type: number, { tag = 0, op = 0, flags = 0, count = 0, slot = 0, payload }: Fields = {}): Uint8Array {
  const bytes = new Uint8Array(headerSize + (payload?.byteLength ?? 0))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, type, little)
  view.setUint16(2, protocolVersion, little)
  view.setUint32(4, tag, little)
  view.setInt32(8, op, little)
  view.setUint32(28, flags, little)
  view.setBigUint64(32, BigInt(count), little)
  view.setUint16(60, slot, little)
  if (payload !== undefined) bytes.set(payload, headerSize)
  return bytes
}

/** `struct window`, and behind it a text: the payload of resize (without a text) and of the op exec (a process id). */
export function encodeWindow (width: number, height: number, text = ''): Uint8Array {
  const tail = new TextEncoder().encode(text)
  const bytes = new Uint8Array(4 + tail.byteLength)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, width, little)
  view.setUint16(2, height, little)
  bytes.set(tail, 4)
  return bytes
}
