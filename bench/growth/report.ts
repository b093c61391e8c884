import { short } from '../support/figures.ts'
import { plot, type Plot } from '../support/plot.ts'
import type { Step } from './measures.ts'

export type Growth = {
  when: string
  commit: string
  machine: { kernel: string, cpus: number, cpu: string, node: string, runtime: string, loadBefore: number[], loadAfter: number[] }
  seconds: number
  /** by the number of running containers */
  containers: Step[]
  /** by the number of idle readers of events */
  readers: Step[]
}

type Row = {
  key: string
  what: string
  unit: string
  /** how much of it may be had at the end: `growth` for the ratio to the first, or as it is */
  limit?: number
  of?: 'growth' | 'value'
  /** for a rate: less is worse */
  rate?: boolean
}

const rows: Row[] = [
  { key: 'life', what: 'life: create + start + exit event + delete (S1)', unit: 'ms', limit: 1.1, of: 'growth' },
  { key: 'bareLife', what: 'the same with bare runc, beside the same', unit: 'ms' },
  { key: 'lifeRatio', what: 'longshore ÷ bare runc, in pairs', unit: '×' },
  { key: 'lifeCpu', what: 'CPU of a life: daemon, shim and runtimes', unit: 'ms' },
  { key: 'exit', what: '`kill -9` of init → event at a reader (S3)', unit: 'ms', limit: 1.1, of: 'growth' },
  { key: 'bareExit', what: 'the same by a bare program', unit: 'ms' },
  { key: 'signal', what: 'signal (S5)', unit: 'ms', limit: 1.1, of: 'growth' },
  { key: 'bareSignal', what: 'bare Fastify that answers 204', unit: 'ms' },
  { key: 'signalRate', what: 'signals a second, 8 connections (S5)', unit: '/s', limit: 1.1, of: 'growth', rate: true },
  { key: 'signalRateRatio', what: 'longshore ÷ bare Fastify, in pairs', unit: '×' },
  { key: 'signalCpu', what: 'CPU of a signal', unit: 'µs' },
  { key: 'get', what: '`GET /containers/{id}`', unit: 'ms' },
  { key: 'list', what: '`GET /containers?limit=1`', unit: 'ms' },
  { key: 'page', what: '`GET /containers` (a page of 100)', unit: 'ms' },
  { key: 'filtered', what: '`GET /containers?label=…` that none has', unit: 'ms' },
  { key: 'daemonPss', what: 'memory of the daemon (PSS)', unit: 'MiB' },
  { key: 'shimPss', what: 'memory of a shim (PSS)', unit: 'KiB' },
  { key: 'idleCpu', what: 'CPU of the daemon while nobody asks', unit: 'ms/s' },
  { key: 'shimsCpu', what: 'CPU of all shims while nobody asks', unit: 'ms/s' },
  { key: 'restart', what: '`kill -9` of the daemon → ready', unit: 'ms', limit: 1000, of: 'value' }
]

/** What it costs in terms of the first step; a rate the other way round, so that more is always worse. */
function cost (row: Row, step: Step, first: Step): number {
  const [value = NaN, base = NaN] = [step[row.key], first[row.key]]
  return row.rate === true ? base / value : value / base
}

function table (steps: Step[], what: string): string[] {
  const [first] = steps
  const last = steps.at(-1)
  if (first === undefined || last === undefined) return []
  const there = rows.filter(({ key }) => steps.some((step) => step[key] !== undefined))
  const lines = there.map((row) => {
    const cells = steps.map((step) => {
      const value = step[row.key]
      if (value === undefined) return '–'
      return step === first || row.unit === '×' || first[row.key] === 0 ? short(value) : `${short(value)} (${short(cost(row, step, first))} ×)`
    })
    const value = row.of === 'value' ? last[row.key] ?? NaN : cost(row, last, first)
    const verdict = row.limit === undefined || Number.isNaN(value) ? '' : `${value <= row.limit ? 'met' : '**not met**'}: ≤ ${row.of === 'value' ? `${row.limit} ${row.unit}` : `${row.limit} ×`}`
    return `| ${row.what}, ${row.unit} | ${cells.join(' | ')} | ${verdict} |`
  })
  return [`| ${what} | ${steps.map(({ count }) => count.toLocaleString('en-US')).join(' | ')} | S7 |`, `|---|${steps.map(() => '---').join('|')}|---|`, ...lines]
}

/** Markdown: in brackets the cost in terms of the first column's. */
export function report (growth: Growth): string {
  const { machine } = growth
  return [
    `Measured ${growth.when.slice(0, 10)} at commit ${growth.commit}, in ${Math.round(growth.seconds / 60)} min, on ${machine.cpus} cores (${machine.cpu}), kernel ${machine.kernel}, Node ${machine.node.replace('v', '')}, ${machine.runtime}; load average ${machine.loadBefore.map(short).join(', ')} before, ${machine.loadAfter.map(short).join(', ')} after. Medians; in brackets the cost in terms of the first column's (of a rate its inverse). The bare ones run beside the same containers.`,
    '',
    ...(growth.containers.length === 0 ? [] : [...table(growth.containers, 'running containers'), '']),
    ...(growth.readers.length === 0 ? [] : [...table(growth.readers, 'idle readers of events'), ''])
  ].join('\n')
}

/** File names and SVG. */
export function plots ({ containers, readers }: Growth): [string, string][] {
  const found: [string, string][] = []
  const draw = (name: string, steps: Step[], picture: Omit<Plot, 'lines' | 'x'>, lines: { name: string, key: string, dashed?: boolean, relative?: boolean }[]): void => {
    const [first] = steps
    if (first === undefined) return
    const row = (key: string): Row => rows.find((row) => row.key === key) ?? { key, what: '', unit: '' }
    found.push([name, plot({
      ...picture,
      x: { label: steps === containers ? 'running containers' : 'idle readers of events', unit: '' },
      lines: lines.map(({ name, key, dashed, relative }) => ({ name, ...(dashed === true ? { dashed } : {}), points: steps.map((step) => [step.count, relative === true ? cost(row(key), step, first) : step[key] ?? NaN]) }))
    })])
  }
  for (const [kind, steps] of [['containers', containers], ['readers', readers]] as const) {
    draw(`growth-${kind}-cost.svg`, steps, { title: `What it costs with more ${kind}`, y: { label: 'cost in terms of the first', unit: '×' } }, [
      { name: 'life', key: 'life', relative: true }, { name: 'exit → event', key: 'exit', relative: true }, { name: 'signal', key: 'signalRate', relative: true }, { name: 'life, bare runc', key: 'bareLife', relative: true, dashed: true }
    ])
    draw(`growth-${kind}-memory.svg`, steps, { title: `Memory of the daemon with more ${kind}`, y: { label: 'PSS', unit: 'MiB' } }, [{ name: 'daemon', key: 'daemonPss' }])
    draw(`growth-${kind}-reads.svg`, steps, { title: `Reads with more ${kind}`, y: { label: 'time', unit: 'ms' } }, [
      { name: 'get', key: 'get' }, { name: 'list, one', key: 'list' }, { name: 'list, 100', key: 'page' }, { name: 'list, filtered', key: 'filtered' }
    ])
  }
  draw('growth-containers-restart.svg', containers, { title: 'A killed daemon comes back to its containers', y: { label: 'until ready', unit: 'ms' } }, [{ name: 'restart', key: 'restart' }])
  return found
}
