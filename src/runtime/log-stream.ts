import type { LogRecord } from './log-format.ts'
import { LogReader } from './log-reader.ts'
import { endOnDisk } from './log-segments.ts'
import type { Place } from './log-tail.ts'

/** `end`: bytes of the log that are written; `ended`: nothing more is to be read; `open`: the shim may be in the middle of a record. */
export type LogEnd = { end: number, ended: boolean, open?: boolean }

/** A log, and how to hear that it has grown. */
export type LogSource = {
  directory: string
  /** Resolves once the log is longer than `offset`, or has ended. Absent where no shim writes it any more. */
  follow?: (offset: number) => Promise<LogEnd>
}

/** How long a log is now; one that no shim writes has ended. */
export async function endOf (source: LogSource): Promise<LogEnd> {
  const open = source.follow !== undefined
  return { end: await endOnDisk(source.directory), ended: !open, open }
}

/** The same log, that ends for its readers once `passed` says so; a call that waits then is answered by `passing`. */
export function endingAt (source: LogSource, passed: () => boolean, passing: Promise<void>): LogSource {
  const { directory, follow } = source
  if (follow === undefined) return source
  const last = async (): Promise<LogEnd> => ({ end: await endOnDisk(directory), ended: true, open: true })
  return { directory, follow: async (offset) => (passed() ? await last() : await Promise.race([follow(offset), passing.then(last)])) }
}

/**
 * The records of a log from a place on, in the portions in which they were read: to its present end, or with `follow` until
 * nothing can come any more. Nothing is read ahead, so one who does not ask for the next portion costs nothing but the one it has.
 * Ends early when `signal` is aborted.
 */
export async function * streamLog (source: LogSource, from: Place, options: { until?: LogEnd, follow: boolean, signal: AbortSignal }): AsyncGenerator<LogRecord[], void> {
  const { follow, signal } = options
  const reader = new LogReader(source.directory, from.offset)
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  let { end, ended, open = false } = options.until ?? await endOf(source)
  let skip = from.skip
  try {
    while (!signal.aborted) {
      const records = await reader.read(end, ended && !open)
      if (records.length > 0) {
        const [first] = records
        if (skip > 0 && first?.kind === 'output' && first.start === from.offset) first.bytes = first.bytes.subarray(skip)
        skip = 0
        yield records
        continue
      }
      if (!follow || ended) return
      const grown = await Promise.race([aborted, further(source, reader.position)])
      if (grown === undefined) return
      ;({ end, ended, open = false } = grown)
    }
  } finally {
    await reader.close()
  }
}

/** When the shim has gone, the files hold all that there will ever be. */
async function further (source: LogSource, position: number): Promise<LogEnd> {
  try {
    if (source.follow !== undefined) return await source.follow(position)
  } catch {
    // A shim that is not there any more writes nothing more; whatever else went wrong, no more can be heard of the log.
  }
  return { end: await endOnDisk(source.directory), ended: true }
}
