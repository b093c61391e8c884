import type { ExitView } from '../schemas/index.ts'
import { signalName } from './signals.ts'

/** What is known of the end of a process: `waitStatus` as wait(2) gives it, null when nobody saw it. */
export type ExitFacts = {
  waitStatus: number | null
  /** nanoseconds since 1970, taken where the exit was seen */
  exitedAtNs: bigint
  oomKills: number | null
  outputComplete: boolean
  /** set when the status alone does not tell the reason */
  reason?: 'monitor-lost' | 'host-rebooted' | 'start-failed'
  /** from the shim's record: the runtime's start had succeeded */
  started?: boolean
}

/** The one record of an exit that clients see, from what is known; nothing is invented (an unseen status stays null). */
export function exitView (facts: ExitFacts): ExitView {
  const oomKilled = (facts.oomKills ?? 0) > 0
  const exitedAt = timestamp(facts.exitedAtNs)
  const { waitStatus, outputComplete } = facts
  if (waitStatus === null) {
    return { status: null, signal: null, oomKilled, reason: facts.reason ?? 'monitor-lost', exitedAt, outputComplete }
  }
  // wait(2): the low seven bits are the signal, the next byte the exit status
  const signal = waitStatus & 0x7f
  if (signal === 0) {
    return { status: (waitStatus >> 8) & 0xff, signal: null, oomKilled, reason: facts.reason ?? 'exited', exitedAt, outputComplete }
  }
  const reason = facts.reason ?? (oomKilled && signal === 9 ? 'oom' : 'signaled')
  return { status: 128 + signal, signal: signalName(signal), oomKilled, reason, exitedAt, outputComplete }
}

/** RFC 3339 with nanoseconds, from nanoseconds since 1970. */
export function timestamp (ns: bigint): string {
  const seconds = Number(ns / 1_000_000_000n)
  const fraction = (ns % 1_000_000_000n).toString().padStart(9, '0')
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`
}
