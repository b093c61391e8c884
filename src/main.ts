import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import manifest from '../package.json' with { type: 'json' }
import { loadConfig } from './config.ts'
import { hasCode } from './errors.ts'
import { Hub } from './events/hub.ts'
import { Journal } from './events/journal.ts'
import { Tokens } from './http/tokens.ts'
import { makeMetrics } from './metrics.ts'
import { lockFile, sdNotify } from './native/index.ts'
import { findCgroups } from './runtime/cgroup.ts'
import { Watch } from './runtime/watch.ts'
import { buildServer, listen } from './server.ts'
import { streamMetrics } from './stream-metrics.ts'
import { settle } from './settle.ts'
import { due } from './supervisor/due.ts'
import { endOrphans } from './supervisor/orphans.ts'
import { Reconciler } from './supervisor/reconcile.ts'
import { restore } from './supervisor/restore.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import { keepTicksQuick } from './ticks.ts'

/** seconds that tasks under way have to finish at shutdown */
const drainLimit = 10

const { version } = manifest
const config = loadConfig(process.argv.slice(2), version)
const log = pino({ level: config.logLevel })

keepTicksQuick()
// Sockets, records and output are for the owner only, whatever the umask was.
process.umask(0o077)
for (const directory of [config.root, config.state, join(config.root, 'containers'), join(config.state, 'runs'), join(config.state, 'runtime')]) {
  await mkdir(directory, { recursive: true, mode: 0o700 })
}
try {
  lockFile(join(config.root, 'lock'))
} catch (error) {
  if (!hasCode(error, 'EWOULDBLOCK')) throw error
  log.fatal({ root: config.root }, 'another longshored runs on this root')
  process.exit(1)
}

const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
const journal = await Journal.open({ path: join(config.root, 'journal.db'), bootId, retainEvents: config.retainEvents, retainDays: config.retainDays, retainBytes: config.retainBytes, lane: join(config.state, 'journal.lane'), log })
const watch = new Watch(log)
const hub = new Hub(journal, { heartbeatSeconds: config.heartbeat, log })
const metrics = makeMetrics({
  containers: () => supervisor.counts(),
  queued: () => supervisor.queued,
  runtimeCalls: () => supervisor.runtimeCalls,
  descriptors: () => watch.size,
  subscribers: () => hub.size,
  waits: () => supervisor.waits.size,
  repairs: () => supervisor.repairs
})
streamMetrics(metrics.registry, hub)
const supervisor = new Supervisor({
  directories: { root: config.root, state: config.state },
  runtime: config.runtime,
  runtimeArgs: config.runtimeArgs,
  startTimeout: config.startTimeout,
  maxQueuedTasks: config.maxQueuedTasks,
  maxRuntimeCalls: config.maxRuntimeCalls,
  logSegmentBytes: config.logSegmentBytes,
  logSegments: config.logSegments,
  logRuns: config.logRuns,
  bootId,
  cgroups: await findCgroups(),
  journal,
  watch,
  log,
  observe: metrics.observe
})

const tokens = new Tokens(config.tokenFile, (token) => {
  process.stderr.write(`longshored: the first admin token, shown only now; ${config.tokenFile} keeps its hash: ${token}\n`)
})
if (config.listen !== undefined) await tokens.open()
const { app, warm } = await buildServer({ config, supervisor, journal, hub, metrics, tokens, version, idempotencyDirectory: join(config.root, 'idempotency'), logger: log })
const listening = await listen(app, config)
log.info({ socket: config.socket, address: listening.address, version }, 'longshored listens')

const reconciler = new Reconciler(supervisor, config.reconcileInterval)

const settling = new AbortController()
let stopping = false
/** Streams end, tasks under way finish, the journal is closed; containers and their shims go on. */
async function stop (signal: string): Promise<void> {
  if (stopping) return
  stopping = true
  settling.abort()
  log.info({ signal }, 'longshored stops; containers go on')
  sdNotify('STOPPING=1')
  supervisor.ready = false
  supervisor.waits.close()
  reconciler.close()
  supervisor.deadlines.close()
  supervisor.checks.close()
  const answered = supervisor.idle(drainLimit)
  const closed = listening.close(answered)
  await answered
  await supervisor.flush()
  await closed
  await journal.close()
  watch.close()
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    stop(signal).then(() => process.exit(0), (error: unknown) => {
      log.fatal({ err: error }, 'longshored could not stop in order')
      process.exit(1)
    })
  })
}
process.on('SIGHUP', () => {
  // Tokens need no signal: they are read when their file changes.
  listening.reload().then(() => log.info('the certificate was read anew'), (error: unknown) => log.error({ err: error }, 'the new certificate cannot be used; the old one stays'))
})

const orphans = await restore(supervisor)
// Not before: a run that a restart begins while what no record knows is looked for would be taken for such a one.
supervisor.deadlines.begin((kind, id) => due(supervisor, kind, id))
log.info({ containers: supervisor.containers.size, quarantined: supervisor.quarantined.size }, 'longshored is ready')
sdNotify('READY=1')
// Whoever asks waits for the answer; nobody else does.
void supervisor.criu.status()
await endOrphans(supervisor, orphans)
await warm()
await settle({
  busy: () => supervisor.queued > 0 || supervisor.runtimeCalls > 0,
  collectBeside: async () => await journal.collectGarbage(),
  signal: settling.signal
}).catch((error: unknown) => {
  if (!stopping) log.warn({ err: error }, 'memory of the start could not be given back')
})
