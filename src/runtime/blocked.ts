import { readdir } from 'node:fs/promises'
import { readFiles } from '../native/index.ts'
import type { Container } from './container.ts'

const fileLimit = 4096
/** threads of a process, and children of an init, that are looked at */
const most = 200
const namedAtMost = 5

/** What /proc/PID/status (proc(5)) says of one process or thread. */
type Facts = { state: string, name: string, parent: number, tracer: number, threads: number }

function factsOf (status: string | null | undefined): Facts | undefined {
  if (status == null) return undefined
  const line = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? ''
  return { state: line('State').charAt(0), name: line('Name'), parent: Number(line('PPid')), tracer: Number(line('TracerPid')), threads: Number(line('Threads')) }
}

/**
 * True while the end of a process cannot come to its parent, whoever that is: it is a zombie that a tracer holds, or of which a
 * thread is still there (ptrace(2): the parent hears of it when the tracer has let go). With `parent`, also while it still lives as
 * that one's child, as an init does in whose pid namespace another process is held (pid_namespaces(7)). A pid that is another's by
 * now has another parent.
 */
export async function isHeld (pid: number | null, parent?: number): Promise<boolean> {
  if (pid === null || pid <= 0) return false
  const { texts: [status] } = await readFiles([`/proc/${pid}/status`], fileLimit)
  const facts = factsOf(status)
  if (facts === undefined || (parent !== undefined && facts.parent !== parent)) return false
  return facts.state === 'Z' ? facts.tracer > 0 || facts.threads > 1 : parent !== undefined
}

/** `held`: SIGKILL has done what it can, and only a tracer can let it go. */
export type Blocked = { text: string, held: boolean }

/**
 * What keeps processes from ending that are taken to live, for whoever waited too long: a tracer by name, or where in the kernel they
 * sleep. `children` are looked at too. Undefined when nothing of that kind is to be seen. Each file of /proc is read once, and none of
 * them waits for the process (as /proc/PID/cmdline would).
 */
export async function blockersOf (processes: { label: string, pid: number, children?: boolean }[]): Promise<Blocked | undefined> {
  const found: { words: string, tracer: number, held: boolean }[] = []
  const look = async (label: string, pid: number): Promise<void> => {
    const { texts: [text] } = await readFiles([`/proc/${pid}/status`], fileLimit)
    const facts = factsOf(text)
    if (facts === undefined) return
    const who = `${label} (pid ${pid})`
    if (facts.state === 'Z' && facts.tracer > 0) found.push({ words: `${who} is dead but held by its tracer`, tracer: facts.tracer, held: true })
    else if (facts.state === 't') found.push({ words: `${who} is stopped by its tracer`, tracer: facts.tracer, held: false })
    else if (facts.state === 'D') found.push({ words: `${who} is in uninterruptible sleep${await place(pid)}`, tracer: 0, held: false })
    if (facts.threads <= 1) return
    const threads = (await readdir(`/proc/${pid}/task`).catch(() => [])).map(Number).filter((thread) => thread !== pid).slice(0, most)
    const { texts } = await readFiles(threads.map((thread) => `/proc/${pid}/task/${thread}/status`), fileLimit)
    for (const [at, thread] of threads.entries()) {
      const { state, tracer } = factsOf(texts[at]) ?? { state: '', tracer: 0 }
      if (state === 'Z' && tracer > 0) found.push({ words: `thread ${thread} of ${who} is dead but held by its tracer`, tracer, held: true })
      else if (state === 'D') found.push({ words: `thread ${thread} of ${who} is in uninterruptible sleep${await place(thread)}`, tracer: 0, held: false })
    }
  }
  const known = new Set(processes.map(({ pid }) => pid))
  for (const { label, pid, children } of processes) {
    await look(label, pid)
    if (children !== true) continue
    const { texts: [list] } = await readFiles([`/proc/${pid}/task/${pid}/children`], most * 11)
    for (const child of (list ?? '').split(' ').map(Number).filter((child) => child > 0 && !known.has(child)).slice(0, most)) await look(`a child of ${label}`, child)
  }
  if (found.length === 0) return undefined
  const named = found.slice(0, namedAtMost)
  const { texts } = await readFiles(named.map(({ tracer }) => `/proc/${tracer}/comm`), fileLimit)
  const words = named.map(({ words, tracer }, at) => (tracer === 0 ? words : `${words}, pid ${tracer} (${texts[at]?.trim() ?? 'gone'})`))
  if (found.length > named.length) words.push(`${found.length - named.length} more`)
  return { text: words.join('; '), held: found.some(({ held }) => held) }
}

/** Where in the kernel it sleeps (/proc/PID/wchan), where that is told. */
async function place (pid: number): Promise<string> {
  const { texts: [text] } = await readFiles([`/proc/${pid}/wchan`], fileLimit)
  const name = text?.trim() ?? ''
  return name === '' || name === '0' ? '' : ` (in ${name})`
}

/** blockersOf() for the processes of a container whose end has not been seen. */
export async function blockedBy (container: Container): Promise<Blocked | undefined> {
  return await blockersOf([...container.processes.values()].flatMap((process) => {
    const { id, pid, status, ended, isInit } = process
    if (pid === null || status === 'stopped' || ended !== undefined) return []
    return [{ label: isInit ? 'init' : `process ${id}`, pid, children: isInit }]
  }))
}
