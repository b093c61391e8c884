import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Container } from '../runtime/container.ts'
import { execSpec } from '../runtime/exec-spec.ts'
import { readIfThere, writeWhole } from '../runtime/files.ts'
import { globalArgs, runtimeWords } from '../runtime/oci.ts'
import { killCheck, markerName } from './check-processes.ts'
import type { Outcome } from './health-checks.ts'
import type { Supervisor } from './supervisor.ts'

const outputLimit = 4096
/** seconds that the runtime has to end by itself, once what it started was killed, and its output to be read */
const endGrace = 5
const readGrace = 1

/**
 * `runtime exec` in the container, apart from its shim: nobody is told of the process, and its exit status is the runtime's own.
 * At its deadline, or when it is broken off, it is killed with all that it started.
 */
export async function execCheck (supervisor: Supervisor, container: Container, args: string[], seconds: number, signal: AbortSignal): Promise<Outcome> {
  const { run } = container
  if (run === null) return undefined
  const marker = randomBytes(8).toString('hex')
  const files = { spec: specFile(container), log: join(container.runDir, 'health.log') }
  await rm(files.log, { force: true })
  await writeWhole(files.spec, JSON.stringify(execSpec(run.process, { args, env: [`${markerName}=${marker}`] })))
  if (signal.aborted) {
    await rm(files.spec, { force: true })
    return undefined
  }
  const child = spawn(run.runtimePath, [...globalArgs(container.runtimeArgs, dirname(container.runtimeDir), files.log), 'exec', '--process', files.spec, container.runtimeId], { detached: true, stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' })
  const output = gather(child)
  const ended = endOf(child)
  let late = false
  let ending: Promise<void> | undefined
  const end = (): void => { ending ??= endCheck(supervisor, container, marker, child, ended) }
  const timer = setTimeout(() => { late = true; end() }, seconds * 1000)
  signal.addEventListener('abort', end, { once: true })
  try {
    const { status, error } = await ended
    await output.read
    await ending
    const said = output.text()
    if (late) return { healthy: false, output: `it did not finish within ${seconds} s and was ended${said === '' ? '' : `: ${said}`}`.slice(0, outputLimit) }
    if (error !== undefined) return { healthy: false, output: `${run.runtimePath} cannot be executed: ${error.message}` }
    if (status === 0) return { healthy: true, output: said }
    return { healthy: false, output: said !== '' ? said : await runtimeWords(files.log, '') ?? `it exited with ${String(status)}` }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
    await rm(files.spec, { force: true })
  }
}

/** A check that an earlier daemon did not live to see the end of. */
export async function endLeftCheck (supervisor: Supervisor, container: Container): Promise<void> {
  const text = await readIfThere(specFile(container))
  const marker = new RegExp(`"${markerName}=([0-9a-f]+)"`).exec(text ?? '')?.[1]
  if (marker === undefined) return
  while (await killCheck(supervisor, container, marker) > 0) await new Promise((resolve) => setTimeout(resolve, 10))
  await rm(specFile(container), { force: true })
}

function specFile (container: Container): string {
  return join(container.runDir, 'health.json')
}

/** The processes in the container first: the runtime is their parent outside, reaps the first one, and ends then. */
async function endCheck (supervisor: Supervisor, container: Container, marker: string, child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  let over = false
  void ended.then(() => { over = true })
  const deadline = performance.now() + endGrace * 1000
  try {
    for (let wait = 5; performance.now() < deadline; wait = Math.min(2 * wait, 200)) {
      const sent = await killCheck(supervisor, container, marker, child.pid)
      if (over && sent === 0) return
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  } catch (error) {
    supervisor.log.error({ err: error, container: container.id }, 'what a health check has started could not be ended')
  }
  // Before it has a process in the container, or when that is frozen: the runtime itself, and what is in its process group.
  if (over || child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    supervisor.log.warn({ err: error, container: container.id }, 'the runtime of a health check could not be ended')
  }
}

type End = { status: number | NodeJS.Signals | null, error?: Error }

function endOf (child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ status: null, error }))
    child.on('exit', (code, signal) => resolve({ status: code ?? signal }))
  })
}

/** The first bytes of both streams, as they come; the rest is read and thrown away, so that nobody waits for a reader. */
function gather (child: ChildProcess): { text: () => string, read: Promise<void> } {
  const kept: Buffer[] = []
  let length = 0
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null)
  for (const stream of streams) {
    stream.on('data', (chunk: Buffer) => {
      if (length >= outputLimit) return
      kept.push(chunk.subarray(0, outputLimit - length))
      length += chunk.length
    })
    stream.on('error', () => { /* it has said what it could */ })
  }
  const read = new Promise<void>((resolve) => {
    child.on('close', () => resolve())
    child.on('error', () => resolve())
    // Something that was left running may hold the other end.
    child.on('exit', () => setTimeout(() => { for (const stream of streams) stream.destroy(); resolve() }, readGrace * 1000).unref())
  })
  return { text: () => Buffer.concat(kept).toString('utf8').trim(), read }
}
