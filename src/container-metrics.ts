import { setImmediate as turn } from 'node:timers/promises'
import type { Container } from './runtime/container.ts'
import { sampled, samplesAtOnce, type Sampler } from './runtime/sampler.ts'
import type { StatsView } from './schemas/index.ts'

type Family = { name: string, type: 'counter' | 'gauge', help: string, read: (stats: StatsView) => number | null }

const seconds = (ns: number | null | undefined): number | null => (ns == null ? null : ns / 1e9)

const families: Family[] = [
  { name: 'cpu_seconds_total', type: 'counter', help: 'CPU time', read: ({ cpu }) => seconds(cpu.totalNs) },
  { name: 'cpu_user_seconds_total', type: 'counter', help: 'CPU time in user mode', read: ({ cpu }) => seconds(cpu.userNs) },
  { name: 'cpu_system_seconds_total', type: 'counter', help: 'CPU time in the kernel', read: ({ cpu }) => seconds(cpu.systemNs) },
  { name: 'cpu_throttled_seconds_total', type: 'counter', help: 'Time for which a CPU quota made it wait', read: ({ cpu }) => seconds(cpu.throttling?.throttledNs) },
  { name: 'memory_usage_bytes', type: 'gauge', help: 'Memory, page cache included', read: ({ memory }) => memory.usage },
  { name: 'memory_working_set_bytes', type: 'gauge', help: 'Memory without the inactive page cache', read: ({ memory }) => memory.workingSet },
  { name: 'memory_limit_bytes', type: 'gauge', help: 'Limit of memory, where there is one', read: ({ memory }) => memory.limit },
  { name: 'memory_swap_bytes', type: 'gauge', help: 'Memory in swap', read: ({ memory }) => memory.swap },
  { name: 'oom_kills_total', type: 'counter', help: 'Processes that the kernel killed for want of memory', read: ({ oomKills }) => oomKills },
  { name: 'pids', type: 'gauge', help: 'Processes and threads', read: ({ pids }) => pids.current },
  { name: 'io_read_bytes_total', type: 'counter', help: 'Read from block devices', read: ({ blockIO }) => blockIO?.readBytes ?? null },
  { name: 'io_write_bytes_total', type: 'counter', help: 'Written to block devices', read: ({ blockIO }) => blockIO?.writeBytes ?? null },
  { name: 'network_receive_bytes_total', type: 'counter', help: 'Received, loopback apart', read: ({ network }) => network?.rxBytes ?? null },
  { name: 'network_transmit_bytes_total', type: 'counter', help: 'Sent, loopback apart', read: ({ network }) => network?.txBytes ?? null }
]

/** milliseconds for which a scrape is answered with what the one before has read */
const keptMs = 1000

type Row = { labels: Record<string, string>, lines: string[] }

/**
 * The part of /metrics that grows with the containers: of the first `limit` of them in the order of their creation, so that
 * the number of time series is bounded. Read and written in slices, so that no scrape holds the event loop.
 */
export class ContainerMetrics {
  readonly #sampler: Sampler
  readonly #containers: () => Iterable<Container>
  readonly #limit: number
  #kept: { at: number, rows: Promise<{ rows: Row[], omitted: number }> } | undefined

  constructor (options: { sampler: Sampler, containers: () => Iterable<Container>, limit: number }) {
    this.#sampler = options.sampler
    this.#containers = options.containers
    this.#limit = options.limit
  }

  /** Prometheus text format; `covers`: of which containers, by their labels, the one who asks may know. */
  async text (covers: (labels: Record<string, string>) => boolean = () => true): Promise<string> {
    if (this.#kept === undefined || performance.now() - this.#kept.at > keptMs) {
      const rows = this.#read()
      this.#kept = { at: performance.now(), rows }
      rows.catch(() => { this.#kept = undefined })
    }
    const { rows, omitted } = await this.#kept.rows
    const shown = rows.filter(({ labels }) => covers(labels))
    let text = `# HELP longshore_containers_omitted Containers beyond --metrics-containers, of which there are no metrics of their own\n# TYPE longshore_containers_omitted gauge\nlongshore_containers_omitted ${omitted}\n`
    for (const [index, { name, type, help }] of families.entries()) {
      text += `# HELP longshore_container_${name} ${help}\n# TYPE longshore_container_${name} ${type}\n`
      for (const { lines } of shown) text += lines[index] ?? ''
    }
    return text
  }

  async #read (): Promise<{ rows: Row[], omitted: number }> {
    const all = [...this.#containers()].filter(sampled)
    const chosen = all.slice(0, this.#limit)
    const rows: Row[] = []
    for (let from = 0; from < chosen.length; from += samplesAtOnce) {
      const some = chosen.slice(from, from + samplesAtOnce)
      const samples = await this.#sampler.sample(some, keptMs)
      for (const [index, sample] of samples.entries()) {
        if (sample === undefined) continue
        const { stats } = sample
        rows.push({
          labels: some[index]?.labels ?? {},
          // An id has no character that would have to be escaped.
          lines: families.map(({ name, read }) => {
            const value = read(stats)
            return value === null ? '' : `longshore_container_${name}{container="${stats.containerId}"} ${value}\n`
          })
        })
      }
      await turn()
    }
    return { rows, omitted: all.length - chosen.length }
  }
}
