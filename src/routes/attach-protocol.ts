import { LongshoreError } from '../errors.ts'
import type { ExitView } from '../schemas/index.ts'

/** What the daemon says in text messages, as docs/attach.md tells it. */
export type Down =
  | { type: 'attached', containerId: string, runId: string, processId: string, terminal: boolean, input: boolean, offset: number }
  | { type: 'position', offset: number }
  | { type: 'lost', offset: number, bytes: number, reason: 'disk' | 'rotated' | 'damaged' }
  | { type: 'stdin-closed' }
  | { type: 'error', code: string, detail: string }
  | { type: 'exit', exit: ExitView | null }

/** What a client says in text messages. */
export type Up =
  | { type: 'resize', width: number, height: number }
  | { type: 'close-stdin' }

/** Close codes of RFC 6455, 7.4.1, as far as the daemon gives them itself. */
export const closeCode = { done: 1000, leaving: 1001, internal: 1011, later: 1013 } as const

/** bytes of one message: a paste is split by no client */
export const largestMessage = 1024 * 1024

const greatestSize = 65535

/** A control message of a client; throws bad_request. */
export function parseUp (text: string): Up {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new LongshoreError('bad_request', 'a text message must be a JSON object; input goes in binary messages', { cause: error })
  }
  const { type, width, height, ...rest } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  if (type === 'close-stdin' && width === undefined && height === undefined && Object.keys(rest).length === 0) return { type }
  if (type === 'resize' && size(width) && size(height) && Object.keys(rest).length === 0) return { type, width, height }
  throw new LongshoreError('bad_request', `a text message must be {"type":"resize","width","height"} (whole numbers from 1 to ${greatestSize}) or {"type":"close-stdin"}`)
}

function size (value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= greatestSize
}
