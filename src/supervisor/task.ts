import { randomBytes } from 'node:crypto'
import { LongshoreError, exhausted } from '../errors.ts'
import type { TaskView } from '../schemas/index.ts'
import type { Supervisor } from './supervisor.ts'

export type TaskKind = 'create' | 'start' | 'signal' | 'stop' | 'exit' | 'exec' | 'exec-exit' | 'delete' | 'get' | 'pause' | 'resume' | 'update' |
  'lease' | 'policy' | 'checkpoint' | 'health'

/** of this daemon, so that ids differ over restarts; the rest of an id is a number, which costs nothing */
const idPrefix = randomBytes(6).toString('hex')
let tasks = 0

/** Who asked: told in the events that a task causes. */
export type TaskContext = { requestId?: string }

/**
 * One operation put to the supervisor. It settles exactly once (`done`); whoever sent it may be
 * answered earlier, by its deadline (`answer`), while the work goes on. Both promises are made when somebody asks for them:
 * most tasks have ended before anybody has to wait.
 */
export abstract class Task<T> {
  /** in the order in which tasks were made */
  readonly number = ++tasks
  abstract readonly kind: TaskKind
  readonly containerId: string | undefined
  readonly requestId: string | undefined
  /** of the container when the task was sent, for those who may see only some containers */
  labels: Readonly<Record<string, string>> | undefined
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
  /** milliseconds since 1970, as the next two */
  readonly createdAt = Date.now()
  startedAt: number | undefined
  finishedAt: number | undefined
  error: LongshoreError | undefined
  /** performance.now() at which whoever sent it is answered; the list of tasks sets it, and its place there */
  expiresAt: number | undefined
  place = 0
  /** what its sender was told at the deadline */
  expired: LongshoreError | undefined
  #value: unknown
  // unknown, not T: a task of any result is to be a Task<unknown> too
  #answer: PromiseWithResolvers<unknown> | undefined
  #done: PromiseWithResolvers<unknown> | undefined

  constructor (containerId: string | undefined, context: TaskContext = {}) {
    this.containerId = containerId
    this.requestId = context.requestId
  }

  get id (): string {
    return `${idPrefix}${this.number.toString(16).padStart(8, '0')}`
  }

  /** How its sender is answered: by the result, or by its deadline. */
  get answer (): Promise<T> {
    if (this.#answer === undefined) {
      this.#answer = unheard()
      if (this.expired !== undefined) this.#answer.reject(this.expired)
      else this.#tell(this.#answer)
    }
    return this.#answer.promise as Promise<T>
  }

  /** How the work itself ends, whenever that is. */
  get done (): Promise<T> {
    if (this.#done === undefined) this.#tell(this.#done = unheard())
    return this.#done.promise as Promise<T>
  }

  /** The work itself; called by the supervisor, once. What need not wait for anything gives its result at once. */
  abstract execute (supervisor: Supervisor): Promise<T> | T

  succeed (value: T): void {
    if (this.settled) return
    this.#value = value
    this.#settle()
  }

  fail (error: unknown): void {
    if (this.settled) return
    this.error = error instanceof LongshoreError
      ? error
      : exhausted(error) ?? new LongshoreError('internal', 'longshore failed at this; the log has the reason', { cause: error, extra: { taskId: this.id } })
    this.#settle()
  }

  /** Answers the sender that the deadline has passed, with what keeps processes from going on if that is known; the work goes on. */
  expire (why?: string): void {
    if (this.settled) return
    const step = why === undefined ? this.step : `${this.step}; ${why}`
    this.expired = new LongshoreError('timeout', `${this.kind} did not finish within ${this.timeout} s; it is at: ${step}`, {
      extra: { step, taskId: this.id }
    })
    this.#answer?.reject(this.expired)
  }

  get settled (): boolean {
    return this.finishedAt !== undefined
  }

  /** The result of a task that has settled; throws its error. */
  get result (): T {
    if (this.error !== undefined) throw this.error
    return this.#value as T
  }

  #settle (): void {
    this.finishedAt = Date.now()
    if (this.#answer !== undefined) this.#tell(this.#answer)
    if (this.#done !== undefined) this.#tell(this.#done)
  }

  #tell ({ resolve, reject }: PromiseWithResolvers<unknown>): void {
    if (!this.settled) return
    if (this.error === undefined) resolve(this.#value)
    else reject(this.error)
  }

  view (): TaskView {
    const status = this.settled ? (this.error === undefined ? 'succeeded' : 'failed') : (this.startedAt === undefined ? 'queued' : 'running')
    const { error } = this
    const time = (at: number | undefined): string | null => (at === undefined ? null : new Date(at).toISOString())
    return {
      id: this.id,
      kind: this.kind,
      containerId: this.containerId ?? null,
      status,
      step: this.settled ? null : this.step,
      createdAt: new Date(this.createdAt).toISOString(),
      startedAt: time(this.startedAt),
      finishedAt: time(this.finishedAt),
      requestId: this.requestId ?? null,
      error: error === undefined ? null : { type: `urn:longshore:error:${error.code}`, title: error.title, status: error.status, detail: error.message, code: error.code, ...error.extra }
    }
  }
}

/** A promise to which perhaps nobody listens. */
function unheard (): PromiseWithResolvers<unknown> {
  const one = Promise.withResolvers<unknown>()
  one.promise.catch(() => {})
  return one
}
