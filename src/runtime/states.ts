import { LongshoreError, type ErrorCode } from '../errors.ts'

/** The states of a container as clients see them (api: Container.status). */
export type Status = 'created' | 'running' | 'pausing' | 'paused' | 'stopping' | 'stopped' | 'deleting' | 'lost'

/** What can happen to a container. */
export type Move = 'start' | 'signal' | 'stop' | 'exit' | 'remove' | 'lose' | 'pause' | 'frozen' | 'resume' | 'checkpoint'

/**
 * state × move → next state. A move that is not in the row of a state is illegal there.
 * A stopped container that is started again begins a new run; one that is lost may still turn out to have exited.
 */
const table: Record<Status, Partial<Record<Move, Status>>> = {
  created: { start: 'running', signal: 'created', stop: 'stopping', exit: 'stopped', remove: 'deleting', lose: 'lost' },
  running: { signal: 'running', checkpoint: 'running', pause: 'pausing', stop: 'stopping', exit: 'stopped', lose: 'lost' },
  pausing: { signal: 'pausing', frozen: 'paused', resume: 'running', stop: 'stopping', exit: 'stopped', lose: 'lost' },
  paused: { signal: 'paused', resume: 'running', stop: 'stopping', exit: 'stopped', lose: 'lost' },
  stopping: { signal: 'stopping', stop: 'stopping', exit: 'stopped', lose: 'lost' },
  stopped: { start: 'running', remove: 'deleting' },
  deleting: {},
  lost: { exit: 'stopped', remove: 'deleting' }
}

const live = new Set<Status>(['running', 'pausing', 'paused', 'stopping'])

/** True while the container's command runs, or is frozen. */
export function isLive (status: Status): boolean {
  return live.has(status)
}

function codeOf (status: Status, move: Move): ErrorCode {
  if ((move === 'remove' || move === 'start') && isLive(status)) return 'container_running'
  if ((move === 'signal' || move === 'stop') && status === 'stopped') return 'container_not_running'
  if ((move === 'pause' || move === 'checkpoint') && status === 'paused') return 'container_paused'
  if (move === 'resume' && status === 'running') return 'container_not_paused'
  if ((move === 'pause' || move === 'resume' || move === 'checkpoint') && (status === 'created' || status === 'stopped')) return 'container_not_running'
  return 'invalid_state'
}

/** The state after a move; throws a conflict that names both when the table has no such move. */
export function next (id: string, status: Status, move: Move): Status {
  const state = table[status][move]
  if (state !== undefined) return state
  throw new LongshoreError(codeOf(status, move), `container ${id} is ${status}: ${move} is not possible in this state`)
}

export { table as transitions }
