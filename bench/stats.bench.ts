// What it costs to sample: CPU time of the daemon while a reader gets every container each second, and while scrapes come
// one after another; with the longest that the event loop stood still. CONTAINERS: how many (100). SECONDS: of each (10).
import { once } from 'node:events'
import http from 'node:http'
import { readFile } from 'node:fs/promises'
import { Daemon } from '../test/support/daemon.ts'

const count = Number(process.env.CONTAINERS ?? 100)
const seconds = Number(process.env.SECONDS ?? 10)
const daemon = await Daemon.start(['--log-level', 'warn', '--metrics-containers', String(count)])
const pause = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms))

/** seconds of CPU time that the daemon has had, all its threads */
async function cpuTime (): Promise<number> {
  const fields = (await readFile(`/proc/${daemon.pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function during (what: string, work: () => Promise<string>): Promise<number> {
  const [cpu, began] = [await cpuTime(), performance.now()]
  const result = await work()
  const share = (await cpuTime() - cpu) / (performance.now() - began) * 1e5
  console.log(`${what.padEnd(34)} ${share.toFixed(2)} % of a core  ${result}`)
  return share
}

async function delay (): Promise<string> {
  const { text } = await daemon.get('/metrics')
  return /^longshore_loop_longest_turn_seconds (\S+)/m.exec(text)?.[1] ?? '?'
}

try {
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '100000'])
  for (let made = 0; made < count; made += 4) await Promise.all(Array.from({ length: Math.min(4, count - made) }, async () => await daemon.post('/containers', { bundle })))
  await pause(2000)
  await during('nobody asks', async () => { await pause(seconds * 1000); return '' })
  for (const interval of [1, 1]) {
    await during(`a stream of all ${count} each second`, async () => {
      const request = http.get({ socketPath: daemon.socket, path: `/stats?interval=${interval}`, headers: { accept: 'application/x-ndjson' }, agent: false })
      const [response] = await once(request, 'response') as [http.IncomingMessage]
      let [samples, bytes] = [0, 0]
      response.on('data', (chunk: Buffer) => { bytes += chunk.length; for (const byte of chunk) if (byte === 10) samples++ })
      response.on('error', () => {})
      await pause(seconds * 1000)
      request.destroy()
      return `${samples} samples of ${Math.round(bytes / Math.max(1, samples))} bytes`
    })
  }
  await during('a scrape each second', async () => {
    const took: number[] = []
    let size = 0
    for (let round = 0; round < seconds; round++) {
      const began = performance.now()
      size = (await daemon.get('/metrics')).text.length
      took.push(performance.now() - began)
      await pause(1000)
    }
    return `${took.sort((a, b) => a - b)[took.length >> 1]?.toFixed(1)} ms for ${size} bytes`
  })
  await pause(1000)
  await delay()
  await pause(1100)
  console.log(`longest stop of the loop around a scrape ${await delay()} s`)
} finally {
  await daemon.destroy()
}
