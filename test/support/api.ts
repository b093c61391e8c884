import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { loadConfig } from '../../src/config.ts'
import { Hub } from '../../src/events/hub.ts'
import { Journal } from '../../src/events/journal.ts'
import { Tokens } from '../../src/http/tokens.ts'
import { makeMetrics } from '../../src/metrics.ts'
import { findCgroups } from '../../src/runtime/cgroup.ts'
import { Watch } from '../../src/runtime/watch.ts'
import { buildServer } from '../../src/server.ts'
import { streamMetrics } from '../../src/stream-metrics.ts'
import { Supervisor } from '../../src/supervisor/supervisor.ts'

export type Api = { app: FastifyInstance, supervisor: Supervisor, journal: Journal, hub: Hub, watch: Watch, directory: string, close: () => Promise<void> }

/** The whole daemon in this process, without a socket. `lane`: events are told ahead of the database, as in the daemon. */
export async function makeApi (args: string[] = [], { lane = false } = {}): Promise<Api> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-api-'))
  const config = loadConfig(['--root', directory, '--state', directory, ...args], '0.0.0')
  const log = pino({ level: 'silent' })
  const journal = await Journal.open({ path: join(directory, 'journal.db'), bootId: 'boot', retainEvents: config.retainEvents, retainDays: config.retainDays, log, ...(lane ? { lane: join(directory, 'journal.lane') } : {}) })
  const watch = new Watch(log)
  const hub = new Hub(journal, { heartbeatSeconds: config.heartbeat, log })
  const metrics = makeMetrics({ containers: () => supervisor.counts(), queued: () => supervisor.queued, runtimeCalls: () => supervisor.runtimeCalls, descriptors: () => watch.size, subscribers: () => hub.size, waits: () => supervisor.waits.size, repairs: () => supervisor.repairs })
  streamMetrics(metrics.registry, hub)
  const supervisor = new Supervisor({
    directories: { root: directory, state: directory },
    runtime: config.runtime,
    runtimeArgs: [],
    startTimeout: config.startTimeout,
    maxQueuedTasks: config.maxQueuedTasks,
    maxRuntimeCalls: config.maxRuntimeCalls,
    logSegmentBytes: config.logSegmentBytes,
    logSegments: config.logSegments,
    logRuns: config.logRuns,
    bootId: 'boot',
    cgroups: await findCgroups(),
    journal,
    watch,
    log,
    observe: metrics.observe
  })
  supervisor.ready = true
  const { app } = await buildServer({ config, supervisor, journal, hub, metrics, tokens: new Tokens(config.tokenFile, () => {}), version: '0.0.0', idempotencyDirectory: join(directory, 'idempotency'), logger: log })
  return {
    app,
    supervisor,
    journal,
    hub,
    watch,
    directory,
    close: async () => {
      await app.close()
      await journal.close()
      watch.close()
      await rm(directory, { recursive: true, force: true })
    }
  }
}

/** The OpenAPI description of the routes, as YAML. */
export async function describeApi (): Promise<string> {
  const api = await makeApi()
  try {
    return (await api.app.inject({ path: '/openapi.yaml' })).body
  } finally {
    await api.close()
  }
}

export async function readProject (path: string): Promise<string> {
  return await readFile(new URL(`../../${path}`, import.meta.url), 'utf8')
}
