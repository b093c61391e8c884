/**
 * Loaded into the daemon (`--import`): the longest that its event loop was held at a stretch, by the CPU time of the main thread
 * alone, so that a machine that gives the CPU to others counts for nothing. A stretch is a callback of the loop (one timer, one
 * setImmediate, one call from the kernel's events) with all that it settles. SIGUSR2 writes what was seen since the last one to LOOP_PROBE.
 * Watching costs: a stretch is shorter without it.
 */
import { createHook } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { renameSync, writeFileSync } from 'node:fs'
import { PerformanceObserver, constants, monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

/**
 * Milliseconds, the longest of each: `all` of a stretch, `own` without the garbage collections in it (whose wall time is taken
 * off), `by` kind of callback the same, `collected` by kind of collection (wall). `over`: how many of our own took longer than 5 ms.
 */
export type Held = { all: number, own: number, over: number, by: Record<string, number>, collected: Record<string, number>, wall: number }

const path = process.env.LOOP_PROBE
const bound = 5

if (isMainThread && path !== undefined) {
  const read = createRequire(import.meta.url)(process.env.LOOP_CLOCK ?? '') as (numbers: Float64Array) => void
  const clock = new Float64Array(3)
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const stretches: { kind: string, cpu: number, from: number, to: number }[] = []
  const collections: { kind: string, from: number, to: number }[] = []
  let since = performance.now()
  let began = 0
  let kind = 'start'
  /** settled with the callback that they came from, and no stretch of their own */
  const inner = new Set<number>()
  const kinds = new Map<number, string>()

  const stretch = (): void => {
    read(clock)
    const [now = 0, waited = 0, unwatched = 0] = clock
    const cpu = (waited === 0 ? now : waited) - began
    const to = performance.now()
    if (cpu > 1) stretches.push({ kind, cpu, from: since, to })
    // What calls no JavaScript, such as V8's own tasks.
    if (unwatched > 1) stretches.push({ kind: 'native', cpu: unwatched, from: since, to })
    since = to
    began = now
  }

  createHook({
    // Else a promise counts for a callback of its own.
    trackPromises: false,
    init (id, type, _trigger, resource) {
      if (type === 'TickObject' || type === 'Microtask') inner.add(id)
      else kinds.set(id, type === 'Timeout' ? `timer ${String((resource as { _onTimeout?: unknown })._onTimeout).replace(/[\s|]+/g, ' ').slice(0, 60)}` : type)
    },
    before (id) {
      if (inner.has(id)) return
      stretch()
      kind = kinds.get(id) ?? '?'
    },
    destroy (id) {
      inner.delete(id)
      kinds.delete(id)
    }
  }).enable()

  const names = new Map(Object.entries(constants).filter(([name]) => /^NODE_PERFORMANCE_GC_(MAJOR|MINOR|INCREMENTAL|WEAKCB)$/.test(name)).map(([name, value]) => [value, name.slice(20).toLowerCase()]))
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { detail, duration } = entry as typeof entry & { detail: { kind: number } }
      collections.push({ kind: names.get(detail.kind) ?? '?', from: entry.startTime, to: entry.startTime + duration })
    }
  }).observe({ entryTypes: ['gc'] })

  const summary = (): Held => {
    const held: Held = { all: 0, own: 0, over: 0, by: {}, collected: {}, wall: delay.max / 1e6 }
    for (const { kind, from, to } of collections) held.collected[kind] = Math.max(held.collected[kind] ?? 0, to - from)
    for (const { kind, cpu, from, to } of stretches) {
      const own = collections.reduce((left, one) => left - Math.max(0, Math.min(to, one.to) - Math.max(from, one.from)), cpu)
      held.all = Math.max(held.all, cpu)
      held.own = Math.max(held.own, own)
      if (own > bound) held.over++
      held.by[kind] = Math.max(held.by[kind] ?? 0, own)
    }
    return held
  }

  process.on('SIGUSR2', () => {
    writeFileSync(`${path}.new`, JSON.stringify(summary()))
    delay.reset()
    renameSync(`${path}.new`, path)
    stretches.length = collections.length = 0
  })
}
