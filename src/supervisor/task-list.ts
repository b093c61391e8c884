import type { Task } from './task.ts'

/** tasks that have ended and are still shown */
const shown = 1000
/** milliseconds between looks at the deadlines */
const lookMs = 50
/** milliseconds that what blocks a task may take to be found out */
const askLimit = 1000

/**
 * The tasks under way, and the last ones that have ended. Nearly every request is a task and hardly one is ever looked up, so they
 * are in arrays and not found by a key; and one timer looks after the deadlines of all while there are any, so that a task which
 * ends before the next look pays for no clock either.
 */
export class TaskList {
  readonly #underWay: Task<unknown>[] = []
  /** a ring: the next one takes the place of the oldest */
  readonly #ended: Task<unknown>[] = []
  #next = 0
  #looks: NodeJS.Timeout | undefined
  readonly #whatBlocks: (task: Task<unknown>) => Promise<string | undefined>

  /** `whatBlocks` is asked once for each task whose deadline has passed. */
  constructor (whatBlocks: (task: Task<unknown>) => Promise<string | undefined>) {
    this.#whatBlocks = whatBlocks
  }

  /** how many are under way */
  get size (): number {
    return this.#underWay.length
  }

  add (task: Task<unknown>): void {
    task.place = this.#underWay.push(task) - 1
    if (!task.internal) this.#looks ??= setInterval(() => this.#look(), lookMs).unref()
  }

  /** It has ended, and may be shown for a while. */
  end (task: Task<unknown>): void {
    const last = this.#underWay.pop()
    if (last !== undefined && last !== task) {
      this.#underWay[task.place] = last
      last.place = task.place
    }
    // There would soon be nothing else to see.
    if (task.kind === 'get') return
    this.#ended[this.#next] = task
    this.#next = (this.#next + 1) % shown
  }

  find (id: string): Task<unknown> | undefined {
    const named = (task: Task<unknown>): boolean => task.id === id
    return this.#underWay.find(named) ?? this.#ended.find(named)
  }

  /** Newest first. */
  all (): Task<unknown>[] {
    return [...this.#underWay, ...this.#ended].sort((one, other) => other.number - one.number)
  }

  underWay (): Task<unknown>[] {
    return [...this.#underWay]
  }

  async #expire (task: Task<unknown>): Promise<void> {
    // Not twice, while it is asked about.
    task.expiresAt = Infinity
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), askLimit) })
    const why = await Promise.race([this.#whatBlocks(task).catch(() => undefined), late])
    clearTimeout(timer)
    task.expire(why)
  }

  /** A deadline begins at the first look that finds its task and is seen at a later one, so it is two looks late at most. */
  #look (): void {
    const now = performance.now()
    let more = false
    for (const task of this.#underWay) {
      if (task.internal || task.expired !== undefined) continue
      task.expiresAt ??= now + task.timeout * 1000
      if (task.expiresAt <= now) void this.#expire(task)
      more = true
    }
    if (more) return
    clearInterval(this.#looks)
    this.#looks = undefined
  }
}
