/**
 * Every error a client can meet: its code, HTTP status and title. One list, held to
 * docs/errors.md and openapi.yaml by a test. A code is never reused for another meaning.
 */
export const errorCodes = {
  bad_request: { status: 400, title: 'The request is malformed' },
  invalid_id: { status: 400, title: 'The id does not follow the grammar of ids' },
  invalid_signal: { status: 400, title: 'No such signal' },
  invalid_cursor: { status: 400, title: 'The cursor is not one that this daemon gave' },
  unauthorized: { status: 401, title: 'A valid bearer token is needed' },
  forbidden: { status: 403, title: "The token's scope does not allow this" },
  forbidden_host: { status: 403, title: 'The Host header is not on the list of allowed hosts' },
  forbidden_origin: { status: 403, title: 'The Origin header is not on the list of allowed origins' },
  route_not_found: { status: 404, title: 'No such resource' },
  container_not_found: { status: 404, title: 'No such container' },
  process_not_found: { status: 404, title: 'No such process in this container' },
  run_not_found: { status: 404, title: 'No output of such a run is kept' },
  checkpoint_not_found: { status: 404, title: 'No such checkpoint' },
  task_not_found: { status: 404, title: 'No such task' },
  method_not_allowed: { status: 405, title: 'The resource does not have this method' },
  not_acceptable: { status: 406, title: 'None of the media types asked for can be given' },
  container_exists: { status: 409, title: 'A container with this id exists' },
  process_exists: { status: 409, title: 'A process with this id exists' },
  process_running: { status: 409, title: 'The process is running' },
  no_terminal: { status: 409, title: 'The process has no terminal' },
  container_unreadable: { status: 409, title: 'The record of this container cannot be read' },
  container_running: { status: 409, title: 'The container is running' },
  container_not_running: { status: 409, title: 'The container is not running' },
  container_paused: { status: 409, title: 'The container is paused' },
  container_not_paused: { status: 409, title: 'The container is not paused' },
  invalid_state: { status: 409, title: "The container's state does not allow this" },
  lease_expired: { status: 409, title: 'The lease of the container has ended' },
  no_exit: { status: 409, title: 'The container never ran, so it has no exit' },
  checkpoint_exists: { status: 409, title: 'A checkpoint with this name exists' },
  too_many_checkpoints: { status: 409, title: 'The container has as many checkpoints as it may have' },
  checkpoint_unavailable: { status: 409, title: 'This machine cannot make or restore checkpoints' },
  request_in_progress: { status: 409, title: 'A request with this Idempotency-Key is still under way' },
  events_gone: { status: 410, title: 'The position asked for is no longer in the journal' },
  body_too_large: { status: 413, title: 'The request body is too large' },
  unsupported_media_type: { status: 415, title: 'The body must be application/json' },
  invalid_resources: { status: 422, title: 'These resources cannot be given' },
  invalid_bundle: { status: 422, title: 'The bundle cannot be used' },
  idempotency_key_reused: { status: 422, title: 'The Idempotency-Key was used with another request' },
  runtime_not_found: { status: 422, title: 'No such OCI runtime on this machine' },
  checkpoint_failed: { status: 422, title: 'The checkpoint could not be made' },
  runtime_failed: { status: 422, title: 'The OCI runtime refused' },
  upgrade_required: { status: 426, title: 'This resource is a WebSocket' },
  too_many_requests: { status: 429, title: 'Too many requests of this kind' },
  overloaded: { status: 429, title: 'Too much work is queued' },
  headers_too_large: { status: 431, title: 'The request headers are too large' },
  internal: { status: 500, title: 'longshore failed; the log has the reason' },
  runtime_crashed: { status: 502, title: 'The OCI runtime or the shim ended abnormally' },
  out_of_resources: { status: 503, title: 'The host, or what the daemon may have of it, is used up' },
  not_ready: { status: 503, title: 'The daemon is not ready' },
  timeout: { status: 504, title: 'The deadline passed before the work was done' }
} as const satisfies Record<string, { status: number, title: string }>

export type ErrorCode = keyof typeof errorCodes

/** What a problem+json answer carries beside the members of RFC 9457. */
export type ErrorExtra = {
  /** refused input: the field (JSON pointer or parameter name) and the rule it broke */
  errors?: { field: string, rule: string }[]
  /** timeout: the step that is stuck; runtime_failed: the step that failed */
  step?: string
  /** the task that goes on, or failed */
  taskId?: string
  /** runtime_failed: the runtime's own words */
  runtime?: string
  /** runtime_failed at start: 127 command not found, 126 not executable */
  exitStatus?: number
  /** seconds after which a retry makes sense */
  retryAfter?: number
}

/** An error with a stable code, meant for the client as it stands: `message` says what was wrong and what to do. */
export class LongshoreError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly title: string
  readonly extra: ErrorExtra

  constructor (code: ErrorCode, detail: string, options: { cause?: unknown, extra?: ErrorExtra } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'LongshoreError'
    this.code = code
    this.status = errorCodes[code].status
    this.title = errorCodes[code].title
    this.extra = options.extra ?? {}
  }
}

/** True for a system error (from Node or from the addon) with this errno name, e.g. 'ENOENT'. */
export function hasCode (error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code
}

/** Of errno(3): what the host, or the daemon's own limits, have run out of. It passes, and it is no fault of the daemon's. */
const resources: Record<string, string> = {
  EMFILE: 'file descriptors (the limit is that of the daemon: LimitNOFILE of its unit, ulimit -n)',
  ENFILE: 'file descriptors of the host (fs.file-max)',
  ENOSPC: 'room on the disk of --root or --state',
  EDQUOT: 'room in the quota of --root or --state',
  EAGAIN: 'processes or threads (TasksMax of its unit, ulimit -u, kernel.pid_max)',
  ENOMEM: 'memory'
}

/** The refusal for work that failed since something has run out; undefined for any other failure. */
export function exhausted (error: unknown): LongshoreError | undefined {
  const code = Object.keys(resources).find((one) => hasCode(error, one))
  return code === undefined ? undefined : new LongshoreError('out_of_resources', `longshore has run out of ${resources[code] ?? ''}: ${(error as Error).message}`, { cause: error, extra: { retryAfter: 5 } })
}
