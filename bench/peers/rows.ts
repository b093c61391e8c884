import type { Sizes } from './measures.ts'

/** What docs/promises.md says of a figure. */
export type Promised = {
  name: string
  limit: number
  /** what has to keep to the limit: the ratio to the bare one, the ratio to longshore with nothing else running, or the figure itself */
  of: 'ratio' | 'growth' | 'p50' | 'p99'
  /** for `growth`: the figure without anything beside it */
  base?: string
}

export type Row = {
  key: string
  what: string
  unit: 'ms' | '/s' | 'KiB' | 'MiB' | 'µs'
  promises: Promised[]
}

const row = (key: string, what: string, unit: Row['unit'], ...promises: Promised[]): Row => ({ key, what, unit, promises })

/** More is better where it is a rate. */
export const better = ({ unit }: Row): 'more' | 'less' => (unit === '/s' ? 'more' : 'less')

/** All figures, those of a promise together. */
export function rows ({ many }: Pick<Sizes, 'many'>): Row[] {
  const most = Math.max(...many)
  return [
    row('life', 'life: create + start + exit event + delete', 'ms', { name: 'S1', limit: 1.0, of: 'ratio' }),
    row('create', 'create', 'ms'),
    row('start', 'start', 'ms'),
    row('startToExit', 'start → exit event of `/bin/true`', 'ms'),
    row('remove', 'delete', 'ms'),
    row('lives1', 'lives a second, one after another', '/s'),
    row('lives4', 'lives a second, 4 at once', '/s'),
    row('lives16', 'lives a second, 16 at once', '/s', { name: 'S2', limit: 1.0, of: 'ratio' }),
    row('lifeCpu', 'CPU of the whole machine for a life', 'ms', { name: 'S2', limit: 1.0, of: 'ratio' }),
    row('exit', '`kill -9` of init → event at a reader', 'ms', { name: 'S3', limit: 1.3, of: 'ratio' }, { name: 'S3', limit: 5, of: 'p99' }),
    row('fanoutMiddle', '`kill -9` of init → middle one of 100 readers', 'ms'),
    row('fanoutLast', '`kill -9` of init → last of 100 readers', 'ms'),
    row('idle', 'memory at rest (PSS)', 'MiB', { name: 'S4', limit: 80, of: 'p50' }),
    ...many.map((count) => row(`each@${count}`, `memory for each of ${count} running (PSS)`, 'KiB', ...(count === 50 ? [{ name: 'S4', limit: 100, of: 'p50' } as const] : []))),
    row('signal', 'signal, one after another', 'ms', { name: 'S5', limit: 0.3, of: 'p50' }),
    row('signalRate', 'signals a second, 8 connections', '/s', { name: 'S5', limit: 0.8, of: 'ratio' }),
    row('signalCpu', 'CPU of the one who answers, a signal', 'µs'),
    ...([['life', 'life', 'ms'], ['exit', '`kill -9` → event', 'ms'], ['signal', 'signal', 'ms']] as const).flatMap(([key, what, unit]) =>
      many.map((count) => row(`${key}@${count}`, `${what}, beside ${count} running`, unit, ...(count === most ? [{ name: 'S7', limit: 1.1, of: 'growth', base: key } as const] : [])))),
    ...many.map((count) => row(`restart@${count}`, `\`kill -9\` of the daemon → it answers again, ${count} running`, 'ms', ...(count === most ? [{ name: 'S7', limit: 1000, of: 'p50' } as const] : [])))
  ]
}
