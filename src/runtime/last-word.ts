import type { MonitorEvent } from '../native/index.ts'

/**
 * The raw wait status of a process that is another's child, as its pidfd tells it: unknown when it has ended, and known once its parent has
 * reaped it, if the kernel keeps it that long (PIDFD_GET_INFO, Linux 6.15).
 */
export class LastWord {
  status: number | null = null
  #final = false
  #waiting: (() => void)[] = []

  /** True when nothing more comes. */
  hear ({ status, final }: Extract<MonitorEvent, { kind: 'exit' }>): boolean {
    if (status !== null) this.status = status
    if (final) this.close()
    return final
  }

  /** Nobody listens any more. */
  close (): void {
    this.#final = true
    for (const resolve of this.#waiting) resolve()
    this.#waiting = []
  }

  /**
   * Resolves with the status, or with null when the kernel does not tell it within so many milliseconds; while it is `held` from its
   * parent, however, it is waited for, and as long again when that has let go.
   */
  async within (milliseconds: number, held: () => Promise<boolean>): Promise<number | null> {
    for (let more = true, before = false; more && !this.#final;) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiting.push(resolve)
      const timer = setTimeout(resolve, milliseconds)
      await promise
      clearTimeout(timer)
      this.#waiting = this.#waiting.filter((other) => other !== resolve)
      const now = !this.#final && await held()
      more = now || before
      before = now
    }
    return this.status
  }
}

/** milliseconds that whoever adopted the processes of a lost shim has to reap them */
export const reapLimit = 2500
