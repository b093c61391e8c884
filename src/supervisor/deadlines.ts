export type DeadlineKind = 'restart' | 'lease' | 'health'

type Deadline = { kind: DeadlineKind, id: string, at: number }

/** milliseconds: no sleep is longer, so that a clock that is set forward is noticed */
const longestSleep = 30_000

/**
 * Points of the wall clock (milliseconds since 1970), one for each kind and container, kept in a binary heap behind one timer
 * for the nearest. What is due is told once, from begin() on: what comes before that waits for it.
 */
export class Deadlines {
  #onDue: ((kind: DeadlineKind, id: string) => void) | undefined
  readonly #heap: Deadline[] = []
  readonly #current = new Map<string, Map<DeadlineKind, Deadline>>()
  #timer: NodeJS.Timeout | undefined
  #wakeAt = Infinity
  #closed = false

  begin (onDue: (kind: DeadlineKind, id: string) => void): void {
    this.#onDue = onDue
    this.#sleep()
  }

  /** Replaces the one of this kind that the container has. One in the past is due at the next turn of the loop. */
  set (kind: DeadlineKind, id: string, at: number): void {
    if (this.#closed) return
    const deadline = { kind, id, at }
    let kinds = this.#current.get(id)
    if (kinds === undefined) this.#current.set(id, kinds = new Map())
    kinds.set(kind, deadline)
    this.#push(deadline)
    // What was replaced or cleared stays in the heap until its time; many renewals must not pile up there.
    if (this.#heap.length > 64 && this.#heap.length > 4 * this.#current.size * 3) this.#rebuild()
    this.#sleep()
  }

  clear (kind: DeadlineKind, id: string): void {
    const kinds = this.#current.get(id)
    if (kinds?.delete(kind) === true && kinds.size === 0) this.#current.delete(id)
  }

  /** Clears all of a container. */
  forget (id: string): void {
    this.#current.delete(id)
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #live ({ kind, id, at }: Deadline): boolean {
    return this.#current.get(id)?.get(kind)?.at === at
  }

  #sleep (): void {
    const next = this.#heap[0]
    if (next === undefined || this.#closed || this.#onDue === undefined) return
    const wakeAt = Math.min(next.at, Date.now() + longestSleep)
    if (this.#timer !== undefined && this.#wakeAt <= wakeAt) return
    clearTimeout(this.#timer)
    this.#wakeAt = wakeAt
    this.#timer = setTimeout(() => this.#wake(), Math.max(0, wakeAt - Date.now()))
    this.#timer.unref()
  }

  #wake (): void {
    this.#timer = undefined
    this.#wakeAt = Infinity
    const now = Date.now()
    for (let next = this.#heap[0]; next !== undefined && (next.at <= now || !this.#live(next)); next = this.#heap[0]) {
      this.#pop()
      if (!this.#live(next)) continue
      this.clear(next.kind, next.id)
      this.#onDue?.(next.kind, next.id)
    }
    this.#sleep()
  }

  #rebuild (): void {
    const live = this.#heap.filter((deadline) => this.#live(deadline)).sort((one, other) => one.at - other.at)
    this.#heap.splice(0, this.#heap.length, ...live)
  }

  #push (deadline: Deadline): void {
    const heap = this.#heap
    let at = heap.push(deadline) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as Deadline
      if (above.at <= deadline.at) break
      heap[at] = above
      at = parent
    }
    heap[at] = deadline
  }

  #pop (): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && (heap[child + 1] as Deadline).at < (heap[child] as Deadline).at) child++
      if ((heap[child] as Deadline).at >= last.at) break
      heap[at] = heap[child] as Deadline
      at = child
    }
    heap[at] = last
  }
}
