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
  follow?: (offset: number, signal?: AbortSignal) => Promise<LogEnd>
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
  return { directory, follow: async (offset, signal) => (passed() ? await last() : await Promise.race([follow(offset, signal), passing.then(last)])) }
}

/**
 * The records of a log from a place on, in the portions in which they were read, whose bytes hold until the next one is asked for: to its present end, or with `follow` until
 * nothing can come any more. Nothing is read ahead, so one who does not ask for the next portion costs nothing but the one it has.
 * Ends early when `signal` is aborted.
 */
export async function * streamLog (source: LogSource, from: Place, options: { until?: LogEnd, follow: boolean, signal: AbortSignal }): AsyncGenerator<LogRecord[], void> {
  const { follow, signal } = options
  const reader = new LogReader(source.directory, from.offset)
  let { end, ended, open = false } = options.until ?? await endOf(source)
  let skip = from.skip
  try {
    while (!signal.aborted) {
      const records = await reader.read(end, !open, ended && !open)
      if (records.length > 0) {
        const [first] = records
        if (skip > 0 && first?.kind === 'output' && first.start === from.offset) first.bytes = first.bytes.subarray(skip)
        skip = 0
        yield records
        continue
      }
      if (!follow || ended) return
      ;({ end, ended, open = false } = await further(source, reader.position, signal))
    }
  } finally {
    await reader.close()
  }
}

/** When the output has ended, or its shim has, the files hold all that there will ever be, which may be more than was told. */
async function further ({ directory, follow }: LogSource, position: number, signal: AbortSignal): Promise<LogEnd> {
  try {
    const grown = await follow?.(position, signal)
    if (grown !== undefined && (!grown.ended || grown.open === true)) return grown
  } catch (error) {
    if (!signal.aborted) throw error
    return { end: position, ended: true, open: true }
  }
  return { end: await endOnDisk(directory), ended: true }
}
