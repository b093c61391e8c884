import { readdir, stat } from 'node:fs/promises'
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import { loopTurns } from './native/index.ts'

type Sources = {
  containers: () => Map<string, number>
  queued: () => number
  runtimeCalls: () => number
  descriptors: () => number
  subscribers: () => number
  waits: () => number
  repairs: () => ReadonlyMap<string, number>
}

const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export type Metrics = { registry: Registry, observe: (what: 'create' | 'start' | 'exit' | 'delete', seconds: number) => void }

/** Of this process. Since Linux 6.2 it is the size of the directory (proc(5)); before, that is 0 and the names are counted. */
async function openDescriptors (): Promise<number> {
  const directory = '/proc/self/fd'
  return (await stat(directory)).size || (await readdir(directory)).length
}

/** What /metrics shows. Nothing is kept for each container, so the cost of a scrape does not grow with them. */
export function makeMetrics (sources: Sources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  // Its own measure of the event loop wakes the daemon up 75 times a second, also when there is nothing to do: once an hour, and not shown.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 3_600_000 })
  for (const { name } of registry.getMetricsAsArray()) if (name.startsWith('nodejs_eventloop_lag')) registry.removeSingleMetric(name)
  loopMetrics(registers)
  // That of the package lists the directory synchronously: 10 ms with 4,000 of them.
  registry.removeSingleMetric('process_open_fds')
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'process_open_fds', help: 'Number of open file descriptors.', registers, async collect () { this.set(await openDescriptors()) } })
  const gauge = (name: string, help: string, read: () => number): void => {
    // eslint-disable-next-line no-new -- it registers itself
    new Gauge({ name, help, registers, collect () { this.set(read()) } })
  }
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({
    name: 'longshore_containers',
    help: 'Containers by status',
    labelNames: ['status'],
    registers,
    collect () {
      this.reset()
      for (const [status, count] of sources.containers()) this.set({ status }, count)
    }
  })
  gauge('longshore_tasks_queued', 'Tasks that wait for their turn', sources.queued)
  gauge('longshore_runtime_calls', 'Calls of the OCI runtime under way', sources.runtimeCalls)
  gauge('longshore_monitored_descriptors', 'Descriptors in the epoll set', sources.descriptors)
  gauge('longshore_event_subscribers', 'Readers of the event stream', sources.subscribers)
  gauge('longshore_waits', 'Requests that wait for an exit', sources.waits)
  // eslint-disable-next-line no-new -- it registers itself
  new Counter({
    name: 'longshore_repairs_total',
    help: 'What was found out of step with what was known, and put right',
    labelNames: ['kind'],
    registers,
    collect () {
      this.reset()
      for (const [kind, count] of sources.repairs()) this.inc({ kind }, count)
    }
  })
  const histogram = (name: string, help: string): Histogram => new Histogram({ name, help, buckets, registers })
  const timers = {
    create: histogram('longshore_container_create_seconds', 'From the request to a created container'),
    start: histogram('longshore_container_start_seconds', 'The start of a created container'),
    exit: histogram('longshore_container_exit_seconds', "From the notice of init's exit to the end of its teardown"),
    delete: histogram('longshore_container_delete_seconds', 'The teardown of a run, and the removal of its container')
  }
  return { registry, observe: (what, seconds) => timers[what].observe(seconds) }
}

/** How long the event loop was held, which is what a request may have had to wait for. */
function loopMetrics (registers: Registry[]): void {
  loopTurns()
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'longshore_loop_longest_turn_seconds', help: 'The longest turn of the event loop since the last scrape', registers, collect () { this.set(loopTurns().longest) } })
  // eslint-disable-next-line no-new -- it registers itself
  new Counter({
    name: 'longshore_loop_long_turns_total',
    help: 'Turns of the event loop of more than 5 ms',
    registers,
    collect () {
      this.reset()
      this.inc(loopTurns().long)
    }
  })
}
