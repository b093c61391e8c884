import { createHash } from 'node:crypto'
import { fullPolicy, type RestartState } from '../runtime/lifecycle.ts'
import type { ExitView, RestartPolicyView, RestartView } from '../schemas/index.ts'

/** All that a decision rests on: the record of an exit and the record of its container, nothing of this moment. */
export type RestartFacts = {
  policy: RestartPolicyView | null
  restart: RestartState
  runId: string
  startedAt: string | null
  exit: ExitView
  /** its lease had ended */
  expired: boolean
}

/**
 * Whether and when a container is started again after a run. The same facts give the same answer, the jitter too, so that a
 * daemon that died before it could write the decision down comes to it again.
 */
export function decideRestart ({ policy, restart, runId, startedAt, exit, expired }: RestartFacts): RestartView {
  const no = (reason: RestartView['reason']): RestartView => ({ attempts: restart.attempts, nextAt: null, reason })
  if (restart.stopped) return no('stopped')
  if (expired) return no('expired')
  // Stopped to be started again, which its status says nothing about.
  const unhealthy = restart.unhealthy === runId
  const failed = exit.status !== 0 || unhealthy
  if (policy === null || policy.name === 'no') {
    if (!unhealthy) return no(null)
    // The checks take their time themselves: as soon as it has ended.
    policy = fullPolicy({ name: 'always', initialDelay: exit.reason === 'start-failed' ? 1 : 0, jitter: 0 })
  }
  if (policy.name === 'on-failure' && !failed) return no('succeeded')
  const { maxAttempts, initialDelay, factor, maxDelay, jitter, resetAfter } = policy
  const exitedAt = Date.parse(exit.exitedAt)
  const lasted = startedAt === null || exit.reason === 'start-failed' ? 0 : (exitedAt - Date.parse(startedAt)) / 1000
  const attempts = (lasted >= resetAfter ? 0 : restart.attempts) + 1
  if (maxAttempts > 0 && attempts > maxAttempts) return no('gave-up')
  // No delay stays none: times a power that has become infinite it would be no number.
  const delay = (initialDelay === 0 ? 0 : Math.min(maxDelay, initialDelay * factor ** (attempts - 1))) * (1 + jitter * chance(`${runId} ${attempts}`))
  return { attempts, nextAt: new Date(exitedAt + delay * 1000).toISOString(), reason: unhealthy ? 'unhealthy' : failed ? 'failed' : 'exited' }
}

/** From -1 to 1: anything, but always the same for the same seed. */
function chance (seed: string): number {
  return createHash('sha256').update(seed).digest().readUInt32LE(0) / 0xffffffff * 2 - 1
}
