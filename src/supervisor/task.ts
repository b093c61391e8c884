import { randomBytes } from 'node:crypto'
import { LongshoreError, exhausted } from '../errors.ts'
import type { TaskView } from '../schemas/index.ts'
import type { Supervisor } from './supervisor.ts'

export type TaskKind = 'create' | 'start' | 'signal' | 'stop' | 'exit' | 'exec' | 'exec-exit' | 'delete' | 'get' | 'pause' | 'resume' | 'update' |
  'lease' | 'policy' | 'checkpoint' | 'health'

/** of this daemon, so that ids differ over restarts; the rest of an id is a number, which costs nothing */
const idPrefix = randomBytes(6).toString('hex')
let ids = 0

function newTaskId (): string {
  return `${idPrefix}${(++ids).toString(16).padStart(8, '0')}`
}

/** Who asked: told in the events that a task causes. */
export type TaskContext = { requestId?: string }

/**
 * One operation put to the supervisor. It settles exactly once (`done`); whoever sent it may be
 * answered earlier, by its deadline (`answer`), while the work goes on.
 */
export abstract class Task<T> {
  readonly id = newTaskId()
  abstract readonly kind: TaskKind
  readonly containerId: string | undefined
  readonly requestId: string | undefined
  /** of the container when the task was sent, for those who may see only some containers */
  labels: Readonly<Record<string, string>> | undefined
  readonly createdAt = new Date()
  /** container: one after another for each container; free: at once, beside whatever else goes on */
  readonly lane: 'container' | 'free' = 'container'
  /** made by the daemon itself: never refused for a full queue, since refusing it would lose a fact */
  readonly internal: boolean = false
  /** changes the host, so it is refused while the journal cannot be written */
  readonly mutates: boolean = false
  /** seconds until whoever sent it is answered */
  timeout = 30
  /** what it is doing, for the one who waits too long */
  step = 'queued'
  startedAt: Date | undefined
  finishedAt: Date | undefined
  error: LongshoreError | undefined
  readonly answer: Promise<T>
  /** performance.now() at which whoever sent it is answered; Infinity for no time */
  expiresAt = Infinity
  #settled = false
  #value: unknown
  #done: PromiseWithResolvers<unknown> | undefined
  // unknown, not T: a task of any result is to be a Task<unknown> too
  #resolveAnswer: (value: unknown) => void = () => {}
  #rejectAnswer: (error: unknown) => void = () => {}

  constructor (containerId: string | undefined, context: TaskContext = {}) {
    this.containerId = containerId
    this.requestId = context.requestId
    this.answer = new Promise((resolve, reject) => { this.#resolveAnswer = resolve as (value: unknown) => void; this.#rejectAnswer = reject })
    // Not every sender listens.
    this.answer.catch(() => {})
  }

  /** How the work itself ends, whenever that is. */
  get done (): Promise<T> {
    if (this.#done === undefined) {
      this.#done = Promise.withResolvers()
      this.#done.promise.catch(() => {})
      if (this.#settled) this.#tellDone()
    }
    return this.#done.promise as Promise<T>
  }

  #tellDone (): void {
    if (this.error === undefined) this.#done?.resolve(this.#value)
    else this.#done?.reject(this.error)
  }

  /** The work itself; called by the supervisor, once. */
  abstract execute (supervisor: Supervisor): Promise<T>

  succeed (value: T): void {
    if (!this.#settle()) return
    this.#value = value
    this.#tellDone()
    this.#resolveAnswer(value)
  }

  fail (error: unknown): void {
    if (!this.#settle()) return
    this.error = error instanceof LongshoreError
      ? error
      : exhausted(error) ?? new LongshoreError('internal', 'longshore failed at this; the log has the reason', { cause: error, extra: { taskId: this.id } })
    this.#tellDone()
    this.#rejectAnswer(this.error)
  }

  /** Answers the sender that the deadline has passed; the work goes on. */
  expire (): void {
    this.#rejectAnswer(new LongshoreError('timeout', `${this.kind} did not finish within ${this.timeout} s; it is at: ${this.step}`, {
      extra: { step: this.step, taskId: this.id }
    }))
  }

  get settled (): boolean {
    return this.#settled
  }

  #settle (): boolean {
    if (this.#settled) return false
    this.#settled = true
    this.finishedAt = new Date()
    return true
  }

  view (): TaskView {
    const status = this.#settled ? (this.error === undefined ? 'succeeded' : 'failed') : (this.startedAt === undefined ? 'queued' : 'running')
    const { error } = this
    return {
      id: this.id,
      kind: this.kind,
      containerId: this.containerId ?? null,
      status,
      step: this.#settled ? null : this.step,
      createdAt: this.createdAt.toISOString(),
      startedAt: this.startedAt?.toISOString() ?? null,
      finishedAt: this.finishedAt?.toISOString() ?? null,
      requestId: this.requestId ?? null,
      error: error === undefined ? null : { type: `urn:longshore:error:${error.code}`, title: error.title, status: error.status, detail: error.message, code: error.code, ...error.extra }
    }
  }
}
