import { median, quantile, short, spread } from '../support/figures.ts'
import type { Figure, Figures } from './figures.ts'
import type { Sizes } from './measures.ts'
import { better, rows, type Promised, type Row } from './rows.ts'

export type Results = {
  when: string
  machine: { kernel: string, cpus: number, cpu: string, memoryBytes: number, loadBefore: number[], loadAfter?: number[], node: string }
  commit: string
  runtime: string
  rounds: number
  sizes: Sizes
  seconds: number
  /** what is there afterwards that was not there before; `[]` is how it has to be */
  leftBehind: string[]
  engines: Record<string, { version: string, notes: string, figures: Figures, failures: string[] }>
}

/** as many single values as a 99th percentile needs to say something */
const enough = 20

const p99 = ({ samples }: Figure): number => (samples.length < enough ? NaN : quantile(samples, 0.99))

function cell (figure: Figure | undefined): string {
  if (figure === undefined) return '–'
  const tail = p99(figure)
  return `${short(median(figure.rounds))}${Number.isNaN(tail) ? '' : ` / ${short(tail)}`}${figure.note === undefined ? '' : ` (${figure.note.split(':')[0]})`}`
}

/** longshore ÷ the other, round by round: the median and the middle half. */
function ratio (ours: Figure | undefined, other: Figure | undefined): [number, number, number] | undefined {
  if (ours === undefined || other === undefined) return undefined
  const ratios = ours.rounds.map((value, i) => value / (other.rounds[i] ?? NaN)).filter((value) => Number.isFinite(value))
  return ratios.length === 0 ? undefined : [median(ratios), ...spread(ratios)]
}

const shown = (found: [number, number, number] | undefined): string => (found === undefined ? '–' : found[1] === found[2] ? `${short(found[0])} ×` : `${short(found[0])} × (${short(found[1])}–${short(found[2])})`)

const table = (header: string[], lines: string[][]): string[] => [`| ${header.join(' | ')} |`, `|${header.map(() => '---').join('|')}|`, ...lines.map((line) => `| ${line.join(' | ')} |`)]

function verdict (row: Row, promised: Promised, ours: Figures, bare: Figures): string[] | undefined {
  const own = ours[row.key]
  if (own === undefined) return undefined
  const more = better(row) === 'more'
  const found = promised.of === 'ratio' ? ratio(own, bare[row.key]) : promised.of === 'growth' ? growth(own, ours[promised.base ?? '']) : undefined
  const value = promised.of === 'p99' ? p99(own) : promised.of === 'p50' ? median(own.rounds) : found?.[0] ?? NaN
  if (Number.isNaN(value)) return undefined
  const met = more ? value >= promised.limit : value <= promised.limit
  const unit = promised.of === 'ratio' || promised.of === 'growth' ? '×' : row.unit
  const against = promised.of === 'ratio' ? cell(bare[row.key]) : promised.of === 'growth' ? `${cell(ours[promised.base ?? ''])} with none` : ''
  return [promised.name, `${row.what}, ${row.unit}${promised.of === 'p99' ? ', p99' : ''}`, against, cell(own), found === undefined ? `${short(value)} ${unit}` : shown(found),
    `${more ? '≥' : '≤'} ${promised.limit} ${unit}`, met ? 'met' : '**not met**']
}

/** They are of one engine at different times, so that nothing is paired: one median by the other. */
function growth (grown: Figure, base: Figure | undefined): [number, number, number] | undefined {
  if (base === undefined) return undefined
  const value = median(grown.rounds) / median(base.rounds)
  return [value, value, value]
}

/** Markdown: the promises, then every figure of every engine, then longshore's ratio to each. */
export function report (results: Results): string {
  const { machine, engines } = results
  const ours = engines.longshore?.figures ?? {}
  const bare = engines.bare?.figures ?? {}
  const all = rows(results.sizes).filter(({ key }) => Object.values(engines).some(({ figures }) => figures[key] !== undefined))
  const names = Object.keys(engines)
  const started = names.filter((name) => Object.keys(engines[name]?.figures ?? {}).length > 0)
  const others = started.filter((name) => name !== 'longshore')
  const verdicts = all.flatMap((row) => row.promises.map((promised) => verdict(row, promised, ours, bare))).filter((line) => line !== undefined)
  const title = (name: string): string => `${name === 'bare' ? 'bare:' : name} ${engines[name]?.version ?? ''}`
  const lines = [
    `Measured ${results.when.slice(0, 10)} at commit ${results.commit}, in ${Math.round(results.seconds / 60)} min: ${results.rounds} rounds in turn on ${machine.cpus} cores (${machine.cpu}), kernel ${machine.kernel}, Node ${machine.node.replace('v', '')}, ${results.runtime} below all of them; load average ${machine.loadBefore.map(short).join(', ')} before, ${(machine.loadAfter ?? []).map(short).join(', ')} after.`,
    '',
    ...(verdicts.length === 0 ? [] : ['Bare and longshore: median / p99; the ratio is that of paired rounds, with its middle half.', '', ...table(['promise', 'what', 'bare', 'longshore', 'ratio or figure', 'limit', ''], verdicts), '']),
    'Every figure, median / p99:',
    '',
    ...table(['', ...started.map(title)], all.map((row) => [`${row.what}, ${row.unit}`, ...started.map((name) => cell(engines[name]?.figures[row.key]))])),
    '',
    'longshore ÷ each of them, median of paired rounds and its middle half (below 1 it takes less; for rates, `/s`, above 1 it does more):',
    '',
    ...table(['', ...others], all.map((row) => [`${row.what}, ${row.unit}`, ...others.map((name) => shown(ratio(ours[row.key], engines[name]?.figures[row.key])))])),
    '',
    'Not like for like:',
    '',
    ...names.map((name) => `- ${name}: ${engines[name]?.notes ?? ''}`)
  ]
  const notes = [...new Set(started.flatMap((name) => Object.values(engines[name]?.figures ?? {}).flatMap(({ note }) => (note === undefined ? [] : [`- ${name}: ${note}`]))))]
  if (notes.length > 0) lines.push('', 'Bounded:', '', ...notes)
  const failures = names.flatMap((name) => (engines[name]?.failures ?? []).map((text) => `- ${name}: ${text}`))
  if (failures.length > 0) lines.push('', 'What failed:', '', ...failures)
  if (results.leftBehind.length > 0) lines.push('', `Left behind: ${results.leftBehind.join(', ')}`)
  return `${lines.join('\n')}\n`
}
