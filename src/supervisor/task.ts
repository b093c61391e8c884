import { randomBytes } from 'node:crypto'
import { LongshoreError } from '../errors.ts'
import type { TaskView } from '../schemas/index.ts'
import type { Supervisor } from './supervisor.ts'

export type TaskKind = 'create' | 'start' | 'signal' | 'stop' | 'exit' | 'exec' | 'exec-exit' | 'delete' | 'get' | 'pause' | 'resume' | 'update'

/** Who asked: told in the events that a task causes. */
export type TaskContext = { requestId?: string }

/**
 * One operation put to the supervisor. It settles exactly once (`done`); whoever sent it may be
 * answered earlier, by its deadline (`answer`), while the work goes on.
 */
export abstract class Task<T> {
  readonly id = randomBytes(10).toString('hex')
  abstract readonly kind: TaskKind
  readonly containerId: string | undefined
  readonly requestId: string | undefined
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
  readonly done: Promise<T>
  readonly answer: Promise<T>
  #settled = false
  // unknown, not T: a task of any result is to be a Task<unknown> too
  #resolve: (value: unknown) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #resolveAnswer: (value: unknown) => void = () => {}
  #rejectAnswer: (error: unknown) => void = () => {}

  constructor (containerId: string | undefined, context: TaskContext = {}) {
    this.containerId = containerId
    this.requestId = context.requestId
    this.done = new Promise((resolve, reject) => { this.#resolve = resolve as (value: unknown) => void; this.#reject = reject })
    this.answer = new Promise((resolve, reject) => { this.#resolveAnswer = resolve as (value: unknown) => void; this.#rejectAnswer = reject })
    // Not every sender listens to both.
    this.done.catch(() => {})
    this.answer.catch(() => {})
  }

  /** The work itself; called by the supervisor, once. */
  abstract execute (supervisor: Supervisor): Promise<T>

  succeed (value: T): void {
    if (!this.#settle()) return
    this.#resolve(value)
    this.#resolveAnswer(value)
  }

  fail (error: unknown): void {
    if (!this.#settle()) return
    this.error = error instanceof LongshoreError
      ? error
      : new LongshoreError('internal', 'longshore failed at this; the log has the reason', { cause: error, extra: { taskId: this.id } })
    this.#reject(this.error)
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
