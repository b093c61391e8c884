import { Counter, Gauge, type Registry } from 'prom-client'
import type { Hub } from './events/hub.ts'
import { latencyBounds } from './events/stream-stats.ts'

/** What /metrics shows of the event streams: read off when it is asked, so that a write to a reader costs no metric. */
export function streamMetrics (registry: Registry, hub: Hub): void {
  const registers = [registry]
  const { stats } = hub
  const gauge = (name: string, help: string, read: () => number): Gauge => new Gauge({ name, help, registers, collect () { this.set(read()) } })
  const counts = (name: string, help: string, read: () => ReadonlyMap<string, number>): Counter => new Counter({
    name, help, labelNames: ['reason'], registers,
    collect () {
      this.reset()
      for (const [reason, count] of read()) this.inc({ reason }, count)
    }
  })
  gauge('longshore_event_lag_events', 'Events that the furthest reader is behind the head', () => hub.lag.events)
  gauge('longshore_event_lag_seconds', 'How long the furthest reader has been behind the head', () => hub.lag.seconds)
  counts('longshore_event_gaps_total', 'Readers that were told of a gap', () => stats.gaps)
  counts('longshore_event_byes_total', 'Streams that were ended with a reason', () => stats.byes)
  // eslint-disable-next-line no-new -- it registers itself
  new Counter({ name: 'longshore_event_bytes_total', help: 'Bytes of events, bookmarks and heartbeats written to readers', registers, collect () { this.reset(); this.inc(stats.bytes) } })
  registry.registerMetric(latency(hub))
}

/** A histogram whose counts are kept elsewhere. */
function latency ({ stats }: Hub): Gauge {
  const name = 'longshore_event_publish_seconds'
  const metric = new Gauge({ name, help: 'From the append of an event to its write to a reader that keeps up', registers: [] })
  const get = async (): Promise<object> => {
    let sum = 0
    const values = [...latencyBounds, '+Inf'].map((le, index) => {
      sum += stats.latencies[index] ?? 0
      return { labels: { le }, value: sum, metricName: `${name}_bucket` }
    })
    return {
      name, help: 'From the append of an event to its write to a reader that keeps up', type: 'histogram', aggregator: 'sum',
      values: [...values, { labels: {}, value: stats.latencySum, metricName: `${name}_sum` }, { labels: {}, value: sum, metricName: `${name}_count` }]
    }
  }
  return Object.assign(metric, { get }) as Gauge
}
