import autocannon from 'autocannon'
import type { Engine } from '../engines/engine.ts'
import { repeat, timed } from '../support/figures.ts'

const connections = 8

/** A second of signals over 8 connections: how many, in how many seconds. */
export async function load (engine: Engine, id: string): Promise<{ count: number, seconds: number }> {
  const request = engine.signalRequest?.(id)
  if (request === undefined) {
    let count = 0
    const taken = await timed(async () => { count = await repeat(1, connections, async () => await engine.signal(id)) })
    return { count, seconds: taken / 1000 }
  }
  const { socketPath, path, body } = request
  const { requests, duration, non2xx, errors } = await autocannon({ url: `http://localhost${path}`, socketPath, method: 'POST', connections, duration: 1, ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }) })
  if (non2xx > 0 || errors > 0) throw new Error(`of ${requests.total} signals ${non2xx} were refused, ${errors} failed`)
  return { count: requests.total, seconds: duration }
}
