import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Failure, Opened, Reply, Request, WorkerData } from './journal-protocol.ts'

/** A request as it is asked, before it has its number. */
export type Ask = Request extends infer R ? R extends { id: number } ? Omit<R, 'id'> : never : never

type Waiting = { resolve: (value: unknown) => void, reject: (error: Error) => void }

/** What the journal's thread could not do. */
export class JournalError extends Error {
  readonly kind: Failure['kind']
  readonly row: number

  constructor ({ kind, message, row }: Failure) {
    super(message)
    this.name = 'JournalError'
    this.kind = kind
    this.row = row ?? -1
  }
}

function workerAt (name: string, workerData: object): Worker {
  const here = import.meta.url
  return new Worker(new URL(`${name}${extname(here)}`, here), { workerData })
}

/** The journal's thread, as the main thread sees it: questions and their answers. */
export class JournalThread {
  readonly #data: WorkerData
  readonly #onLost: (error: Error) => void
  readonly #asked = new Map<number, Waiting>()
  #worker: Worker | undefined
  #asks = 0
  #closing = false

  /** `onLost`: the thread ended unasked; what was asked of it has been rejected, and start() may be called again. */
  constructor (data: WorkerData, onLost: (error: Error) => void) {
    this.#data = { ...data }
    this.#onLost = onLost
  }

  async start (): Promise<Opened> {
    const worker = workerAt('journal-worker', this.#data)
    const opened = new Promise((resolve, reject) => this.#asked.set(0, { resolve, reject }))
    let reason: Error | undefined
    let isOpen = false
    worker.on('error', (error) => { reason = error as Error })
    worker.on('message', (reply: Reply) => this.#answered(reply))
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined
      const error = reason ?? new Error("the journal's thread ended")
      const asked = [...this.#asked.values()]
      this.#asked.clear()
      for (const { reject } of asked) reject(error)
      if (isOpen && !this.#closing) this.#onLost(error)
    })
    this.#worker = worker
    const value = await opened as Opened
    // It is in the database: another thread must not put it in again.
    delete this.#data.left
    isOpen = true
    return value
  }

  /** Rejects with JournalError, or with the thread's own error when it ends meanwhile. */
  async ask (ask: Ask): Promise<unknown> {
    const worker = this.#worker
    if (worker === undefined) throw new JournalError({ kind: 'failed', message: "the journal's thread is not running" })
    const id = ++this.#asks
    return await new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject })
      worker.postMessage({ ...ask, id })
    })
  }

  #answered ({ id, value, failure }: Reply): void {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (failure === undefined) asked?.resolve(value)
    else asked?.reject(new JournalError(failure))
  }

  /** Marks the end as an orderly one. */
  async close (): Promise<void> {
    this.#closing = true
    if (this.#worker === undefined) return
    try {
      await this.ask({ op: 'close' })
    } finally {
      await this.#worker?.terminate()
    }
  }
}

/** Looks through a journal's pages in a thread of its own. Resolves with what is wrong, or null. */
export async function checkJournal (path: string, signal: AbortSignal): Promise<string | null> {
  const worker = workerAt('journal-check-worker', { path })
  // It holds nobody up, not even the end of the process.
  worker.unref()
  signal.addEventListener('abort', () => { void worker.terminate() }, { once: true })
  return await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('it ended before it had an answer')))
  })
}
