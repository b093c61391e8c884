import { cpus } from 'node:os'
import { resolve, join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'

export type Config = {
  root: string
  state: string
  socket: string
  listen: { host: string, port: number } | undefined
  /** files of the certificate chain and its key, in PEM */
  tls: { cert: string, key: string } | undefined
  tokenFile: string
  allowedHosts: string[]
  allowedOrigins: string[]
  /** seconds */
  sessionLifetime: number
  runtime: string
  runtimeArgs: string[]
  /** seconds */
  startTimeout: number
  /** seconds */
  reconcileInterval: number
  retainEvents: number
  retainDays: number
  retainBytes: number
  /** seconds */
  heartbeat: number
  maxQueuedTasks: number
  maxRuntimeCalls: number
  maxSubscribers: number
  metricsContainers: number
  maxOutputReaders: number
  logSegmentBytes: number
  logSegments: number
  logRuns: number
  logLevel: string
}

const integer = (low: number, high: number) => (text: string): number => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < low || value > high) throw new InvalidArgumentError(`It must be a whole number from ${low} to ${high}.`)
  return value
}

const number = (low: number, high: number) => (text: string): number => {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value) || value < low || value > high) throw new InvalidArgumentError(`It must be a number from ${low} to ${high}.`)
  return value
}

const collect = (text: string, list: string[] = []): string[] => [...list, text]

function address (text: string): { host: string, port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port > 65535) throw new InvalidArgumentError('It must be HOST:PORT; an IPv6 address goes in brackets.')
  return { host, port }
}

/** The command line and environment of longshored; `--help` prints all of it. Exits on --help, --version and bad input, as a command does. */
export function loadConfig (argv: string[], version: string): Config {
  const option = (flags: string, description: string, env: string): Option => new Option(flags, description).env(env)
  const command = new Command('longshored')
    .description('Runs and supervises OCI containers on this host; spoken to over HTTP and Server-Sent Events.')
    .version(version)
    .helpOption('-h, --help', 'Print this')
    .showHelpAfterError('(longshored --help lists all options)')
    .addOption(option('--root <dir>', 'What lasts: journal, container records, output', 'LONGSHORE_ROOT').default('/var/lib/longshore'))
    .addOption(option('--state <dir>', "What goes with a reboot: sockets, the runtime's state", 'LONGSHORE_STATE').default('/run/longshore'))
    .addOption(option('--socket <path>', 'Unix socket, mode 0660 (default: <state>/longshore.sock)', 'LONGSHORE_SOCKET'))
    .addOption(option('--listen <host:port>', 'TCP too; a bearer token is always asked there', 'LONGSHORE_LISTEN').argParser(address))
    .addOption(option('--tls-cert <file>', 'Certificate chain for --listen, in PEM: HTTPS then, with HTTP/2; SIGHUP reads it anew', 'LONGSHORE_TLS_CERT'))
    .addOption(option('--tls-key <file>', 'Its private key, in PEM', 'LONGSHORE_TLS_KEY'))
    .addOption(option('--token-file <file>', 'Tokens of TCP clients, hashed; made at first need (default: <root>/tokens.json)', 'LONGSHORE_TOKEN_FILE'))
    .addOption(option('--allowed-host <host>', 'A Host header to accept on TCP besides the loopback names and the listen address; repeatable', 'LONGSHORE_ALLOWED_HOST').argParser(collect))
    .addOption(option('--allowed-origin <origin>', 'An Origin header to accept; repeatable', 'LONGSHORE_ALLOWED_ORIGIN').argParser(collect))
    .addOption(option('--session-lifetime <s>', 'Seconds after which a browser has to log in again', 'LONGSHORE_SESSION_LIFETIME').default(12 * 3600).argParser(number(1, 30 * 24 * 3600)))
    .addOption(option('--runtime <name>', 'OCI runtime: a name on PATH or a path', 'LONGSHORE_RUNTIME').default('runc'))
    .addOption(new Option('--runtime-arg <arg>', "Goes before the runtime's subcommand; repeatable").argParser(collect))
    .addOption(option('--start-timeout <s>', 'Seconds that one call of the runtime may take', 'LONGSHORE_START_TIMEOUT').default(30).argParser(number(0.1, 3600)))
    .addOption(option('--reconcile-interval <s>', 'Seconds between comparisons of what is known with what is there', 'LONGSHORE_RECONCILE_INTERVAL').default(10).argParser(number(0.05, 3600)))
    .addOption(option('--retain-events <n>', 'Events that the journal keeps', 'LONGSHORE_RETAIN_EVENTS').default(1_000_000).argParser(integer(1, 1e9)))
    .addOption(option('--retain-days <n>', 'Days that the journal keeps events', 'LONGSHORE_RETAIN_DAYS').default(30).argParser(number(0.001, 36500)))
    .addOption(option('--retain-bytes <n>', "Bytes that the journal's file may have", 'LONGSHORE_RETAIN_BYTES').default(1024 ** 3).argParser(integer(1024 ** 2, 2 ** 50)))
    .addOption(option('--heartbeat <s>', 'Seconds between heartbeats of an event stream', 'LONGSHORE_HEARTBEAT').default(15).argParser(number(0.05, 15)))
    .addOption(option('--max-queued-tasks <n>', 'Tasks under way at once; past it requests are answered 429', 'LONGSHORE_MAX_QUEUED_TASKS').default(1024).argParser(integer(1, 1e6)))
    .addOption(option('--max-runtime-calls <n>', 'Calls of the runtime at once', 'LONGSHORE_MAX_RUNTIME_CALLS').default(Math.max(4, cpus().length * 2)).argParser(integer(1, 1024)))
    .addOption(option('--max-subscribers <n>', 'Event streams at once', 'LONGSHORE_MAX_SUBSCRIBERS').default(20_000).argParser(integer(1, 1e6)))
    .addOption(option('--metrics-containers <n>', 'Containers that have metrics of their own in /metrics, the oldest first', 'LONGSHORE_METRICS_CONTAINERS').default(500).argParser(integer(0, 100_000)))
    .addOption(option('--log-segment-bytes <n>', "Size at which a container's output goes on in a new file", 'LONGSHORE_LOG_SEGMENT_BYTES').default(4 * 1024 * 1024).argParser(integer(4096, 2 ** 40)))
    .addOption(option('--log-segments <n>', "Files of a run's output that are kept", 'LONGSHORE_LOG_SEGMENTS').default(4).argParser(integer(1, 16)))
    .addOption(option('--log-runs <n>', 'Runs of a container whose output is kept, the latest included', 'LONGSHORE_LOG_RUNS').default(3).argParser(integer(1, 1000)))
    .addOption(option('--max-output-readers <n>', 'Readers of output and attached clients at once', 'LONGSHORE_MAX_OUTPUT_READERS').default(1000).argParser(integer(1, 1e5)))
    .addOption(option('--log-level <level>', "Of the daemon's own log", 'LONGSHORE_LOG_LEVEL').default('info').choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']))
    .allowExcessArguments(false)
  command.parse(argv, { from: 'user' })
  const given = command.opts<{
    root: string, state: string, socket?: string, listen?: { host: string, port: number }, tokenFile?: string, allowedHost?: string[], allowedOrigin?: string[]
    runtime: string, runtimeArg?: string[], startTimeout: number, reconcileInterval: number, retainEvents: number, retainDays: number, retainBytes: number, heartbeat: number
    sessionLifetime: number, tlsCert?: string, tlsKey?: string
    maxQueuedTasks: number, maxRuntimeCalls: number, maxSubscribers: number, metricsContainers: number, logSegmentBytes: number, logSegments: number, logRuns: number, maxOutputReaders: number, logLevel: string
  }>()
  const { tlsCert: cert, tlsKey: key } = given
  if ((cert === undefined) !== (key === undefined)) command.error('error: --tls-cert and --tls-key go together')
  if (cert !== undefined && given.listen === undefined) command.error('error: --tls-cert is for --listen, which is not there')
  const root = resolve(given.root)
  const state = resolve(given.state)
  return {
    ...given,
    root,
    state,
    socket: resolve(given.socket ?? join(state, 'longshore.sock')),
    listen: given.listen,
    tls: cert === undefined || key === undefined ? undefined : { cert: resolve(cert), key: resolve(key) },
    tokenFile: resolve(given.tokenFile ?? join(root, 'tokens.json')),
    allowedHosts: given.allowedHost ?? [],
    allowedOrigins: given.allowedOrigin ?? [],
    runtimeArgs: given.runtimeArg ?? []
  }
}
