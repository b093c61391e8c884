type Log = { warn: (details: object, message: string) => void, error: (details: object, message: string) => void }

export type JournalOptions = {
  path: string
  /** of the kernel: another one than at the last opening means that the machine went down meanwhile */
  bootId: string
  retainEvents: number
  /** days */
  retainDays: number
  /** of the database file; 1 GiB when absent */
  retainBytes?: number
  log: Log
  /** where events go first, to be told at once: a directory that lasts as long as the machine is up; absent to commit first */
  lane?: string
  /** bytes; a larger file is checked for damage beside its use. 64 MiB when absent */
  checkAtOnce?: number
}

const defaultRetainBytes = 1024 ** 3
/** bytes that are looked through in about a tenth of a second */
export const defaultCheckAtOnce = 64 * 1024 * 1024

/** What drops events, and nothing else does. */
export function boundsOf ({ retainEvents, retainDays, retainBytes = defaultRetainBytes }: JournalOptions): { events: number, days: number, bytes: number } {
  return { events: retainEvents, days: retainDays, bytes: retainBytes }
}
