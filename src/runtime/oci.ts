import { readFile } from 'node:fs/promises'
import { execFile } from 'node:child_process'
import { delimiter, isAbsolute, join } from 'node:path'
import { promisify } from 'node:util'
import { LongshoreError } from '../errors.ts'
import { fileSteps } from './files.ts'
import type { RuntimeResult } from './shim.ts'

const execute = promisify(execFile)

/** The absolute path of an OCI runtime given as a path or as a name on PATH. Throws runtime_not_found. */
export async function findRuntime (name: string): Promise<string> {
  const candidates = name.includes('/')
    ? (isAbsolute(name) ? [name] : [])
    : (process.env.PATH ?? '').split(delimiter).concat('/usr/sbin', '/usr/local/sbin').filter(isAbsolute).map((directory) => join(directory, name))
  const [found] = await fileSteps([{ op: 'executable', paths: candidates }])
  if (found !== undefined) return found
  throw new LongshoreError('runtime_not_found', `there is no OCI runtime ${JSON.stringify(name)}: give the name of one on PATH or an absolute path`,
    { extra: { errors: [{ field: 'runtime', rule: 'must be an executable on PATH or an absolute path of one' }] } })
}

export type RuntimeInfo = { name: string, path: string, version: string, features: unknown }

/** What a runtime says of itself (`--version`, and `features` of the OCI runtime command line where it has it); undefined when it is not there. */
export async function describeRuntime (name: string): Promise<RuntimeInfo | undefined> {
  let path: string
  try {
    path = await findRuntime(name)
  } catch {
    return undefined
  }
  const ask = async (argument: string): Promise<string> =>
    await execute(path, [argument], { timeout: 5000, killSignal: 'SIGKILL', maxBuffer: 1024 * 1024 }).then(({ stdout }) => stdout, () => '')
  const [version, features] = await Promise.all([ask('--version'), ask('features')])
  let parsed: unknown = null
  try {
    parsed = JSON.parse(features)
  } catch {
    // a runtime without the features command
  }
  return { name, path, version: version.split('\n')[0]?.trim() ?? '', features: parsed }
}

/** Arguments that go before the runtime's subcommand. */
export function globalArgs (runtimeArgs: string[], stateRoot: string, log: string): string[] {
  return [...runtimeArgs, '--root', stateRoot, '--log', log, '--log-format', 'json']
}

const wordsLimit = 4096

/**
 * The runtime's own words for its last failure: the last error in its log (runc and crun: `--log-format json`),
 * else what it wrote to its standard error. Undefined when it said nothing.
 */
export async function runtimeWords (logFile: string, errorFile: string): Promise<string | undefined> {
  const log = await readFile(logFile, 'utf8').catch(() => '')
  for (const line of log.trimEnd().split('\n').reverse()) {
    try {
      const entry = JSON.parse(line) as { level?: string, msg?: string }
      if (typeof entry.msg === 'string' && (entry.level === 'error' || entry.level === 'fatal')) return entry.msg.slice(0, wordsLimit)
    } catch {
      // garbage in the log of a broken runtime: look on
    }
  }
  const said = (await readFile(errorFile, 'utf8').catch(() => '')).trim()
  return said === '' ? undefined : said.slice(-wordsLimit)
}

/** 127 for a command that is not there, 126 for one that cannot be executed, where the runtime says so (runc 1.1 and crun 1.8 wordings); else undefined. */
function commandStatus (words: string): number | undefined {
  if (/executable file (`[^`]*` )?not found|exec[^:]*: .*no such file or directory/i.test(words)) return 127
  if (/(exec|executable|open executable).*(permission denied|exec format error|is a directory)/i.test(words)) return 126
  return undefined
}

/** ENOENT, ENOEXEC, EACCES of execve(2) */
const notExecutable = new Set([2, 8, 13])

/** The error for a runtime call that did not succeed. `step` is what was being done, e.g. 'runtime create'. */
export function runtimeError (step: string, result: RuntimeResult, words: string | undefined): LongshoreError {
  if (notExecutable.has(result.error)) {
    return new LongshoreError('runtime_not_found', `${step}: the runtime is no program that can be executed (errno ${result.error})`, { extra: { step } })
  }
  if (result.error !== 0) {
    return new LongshoreError('runtime_crashed', `${step}: the runtime could not be executed (errno ${result.error})`, { extra: { step } })
  }
  const signal = result.waitStatus & 0x7f
  if (signal !== 0) {
    return new LongshoreError('runtime_crashed', `${step}: the runtime was ended by signal ${signal}${words === undefined ? '' : `; it said: ${words}`}`, { extra: { step } })
  }
  const exitStatus = words === undefined ? undefined : commandStatus(words)
  return new LongshoreError('runtime_failed', `${step}: ${words ?? `the runtime exited with ${result.waitStatus >> 8} and said nothing`}`, {
    extra: { step, ...(words === undefined ? {} : { runtime: words }), ...(exitStatus === undefined ? {} : { exitStatus }) }
  })
}
