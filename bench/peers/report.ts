import { median, quantile, spread } from './statistics.ts'
import type { Figures, Sizes } from './measures.ts'

export type Results = {
  when: string
  machine: { kernel: string, cpus: number, cpu: string, memoryBytes: number, loadBefore: number[], loadAfter?: number[], node: string }
  commit: string
  rounds: number
  sizes: Sizes
  engines: Record<string, { version: string, notes: string, figures: Figures, failures: string[] }>
}

const short = (value: number): string => (Number.isNaN(value) ? '–' : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2))

/** Markdown: a row for each figure, a column for each engine: the median of the rounds, and its ratio to longshore's in paired rounds. */
export function report (results: Results): string {
  const names = Object.keys(results.engines)
  const ours = names.find((name) => name.startsWith('longshore'))
  const rows = [...new Set(names.flatMap((name) => Object.keys(results.engines[name]?.figures ?? {})))]
  const cell = (name: string, row: string): string => {
    const values = results.engines[name]?.figures[row]
    if (values === undefined) return '–'
    const text = values.length > 20 ? `${short(median(values))} (p99 ${short(quantile(values, 0.99))})` : short(median(values))
    const base = ours === undefined ? undefined : results.engines[ours]?.figures[row]
    if (base === undefined || name === ours) return text
    const ratios = base.map((value, i) => value / (values[i] ?? NaN)).filter((value) => !Number.isNaN(value))
    const [low, high] = spread(ratios)
    return `${text} [${short(median(ratios))} ×, ${short(low)}–${short(high)}]`
  }
  const { machine } = results
  const lines = [
    `Measured ${results.when.slice(0, 10)} at commit ${results.commit}: ${results.rounds} rounds in turn, on ${machine.cpus} cores (${machine.cpu}), kernel ${machine.kernel}, Node ${machine.node}; load ${machine.loadBefore.map(short).join(' ')} before, ${(machine.loadAfter ?? []).map(short).join(' ')} after.`,
    'Each cell: the median over the rounds; in brackets longshore ÷ this one, median and middle half of the paired rounds.',
    '',
    `| | ${names.map((name) => `${name} ${results.engines[name]?.version ?? ''}`).join(' | ')} |`,
    `|---|${names.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${row} | ${names.map((name) => cell(name, row)).join(' | ')} |`),
    '',
    'Not like for like:',
    '',
    ...names.map((name) => `- ${name}: ${results.engines[name]?.notes ?? ''}`)
  ]
  const failures = names.flatMap((name) => (results.engines[name]?.failures ?? []).map((text) => `- ${name}: ${text}`))
  if (failures.length > 0) lines.push('', 'What failed:', '', ...failures)
  return `${lines.join('\n')}\n`
}
