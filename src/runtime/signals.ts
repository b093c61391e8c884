import { constants } from 'node:os'
import { LongshoreError } from '../errors.ts'

/** The kernel's range (signal(7)); glibc and musl keep 32 and 33 (and 34) for themselves, the kernel does not. */
const realtimeFirst = 34
const realtimeLast = 64

const byName = new Map<string, number>()
const byNumber = new Map<number, string>()

for (const [name, number] of Object.entries(constants.signals)) {
  byName.set(name, number)
  if (!byNumber.has(number)) byNumber.set(number, name)
}
// Two names for one number: the one that signal(7) and waitpid's readers use.
byNumber.set(constants.signals.SIGABRT, 'SIGABRT')
byNumber.set(constants.signals.SIGIO, 'SIGIO')
for (let number = realtimeFirst; number <= realtimeLast; number++) {
  const up = `SIGRTMIN+${number - realtimeFirst}`
  const down = `SIGRTMAX-${realtimeLast - number}`
  byName.set(up, number)
  byName.set(down, number)
  byNumber.set(number, number === realtimeFirst ? 'SIGRTMIN' : number === realtimeLast ? 'SIGRTMAX' : up)
}
byName.set('SIGRTMIN', realtimeFirst)
byName.set('SIGRTMAX', realtimeLast)

/**
 * The number of a signal given as a name with or without SIG (any case), a number, or a number in a string.
 * 0 is allowed: it only probes (kill(2)). Throws invalid_signal.
 */
export function parseSignal (value: string | number): number {
  const number = typeof value === 'number' ? value : /^\d{1,3}$/.test(value) ? Number(value) : undefined
  if (number !== undefined) {
    if (Number.isInteger(number) && number >= 0 && number <= realtimeLast) return number
  } else {
    const name = (value as string).toUpperCase()
    const found = byName.get(name.startsWith('SIG') ? name : `SIG${name}`)
    if (found !== undefined) return found
  }
  throw new LongshoreError('invalid_signal', `${JSON.stringify(value)} is no signal: give a name such as SIGTERM, TERM or RTMIN+1, or a number from 0 to ${realtimeLast}`)
}

/** 'SIGTERM' for 15; the number itself for one without a name. */
export function signalName (number: number): string {
  return byNumber.get(number) ?? String(number)
}
