/**
 * node event-server.ts bare|longshore SOCKET: publishes so many events as it is told by message, one in each turn of the loop at most;
 * fills its journal; says what it has used so far, and how long its loop was held since it was last asked.
 */
import net from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { makeApi } from '../../test/support/api.ts'

const [, , kind, path = ''] = process.argv
type Command = { events: number, pauseMs?: number } | { fill: number } | { look: 'used' | 'rss' }
const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve))
const labels = (): Record<string, string> => ({ app: 'bench', t: process.hrtime.bigint().toString() })
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()

let publish: () => Promise<unknown> | undefined
let close = async (): Promise<void> => {}
if (kind === 'bare') {
  const sockets = new Set<net.Socket>()
  net.createServer((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nid: x\n\n'))
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    sockets.add(socket)
  }).listen(path)
  const id = 'abcdef01:100000'
  publish = () => {
    const frame = Buffer.from(`id: ${id}\nevent: StateUpdate\ndata: ${JSON.stringify({ id, type: 'StateUpdate', containerId: 'web', labels: labels(), timestamp: '2026-11-25T00:00:00.000000000Z' })}\n\n`)
    for (const socket of sockets) socket.write(frame)
    return undefined
  }
} else {
  const api = await makeApi(['--max-subscribers', '20000', '--retain-events', '10000000', '--retain-bytes', '10000000000'], { lane: true })
  await api.app.listen({ path })
  publish = async () => await api.journal.append({ type: 'StateUpdate', containerId: 'web', labels: labels() })
  close = api.close
}

const used = (): { cpu: number, delay: number } => {
  const { user, system } = process.cpuUsage()
  const result = { cpu: user + system, delay: delay.max / 1e6 }
  delay.reset()
  return result
}

process.on('message', (command: Command) => {
  void (async () => {
    if ('look' in command) {
      // Collecting garbage is no part of what is measured.
      if (command.look === 'rss') global.gc?.()
      process.send?.(command.look === 'rss' ? { rss: process.memoryUsage.rss() } : used())
      return
    }
    const before = used()
    if ('fill' in command) {
      for (let left = command.fill; left > 0; left -= 1000) await Promise.all(Array.from({ length: Math.min(left, 1000) }, async () => await publish()))
    } else {
      for (let n = 0; n < command.events; n++) {
        void publish()
        if (command.pauseMs === undefined) await turn()
        else await new Promise((resolve) => setTimeout(resolve, command.pauseMs))
      }
    }
    const { cpu, delay } = used()
    process.send?.({ cpu: cpu - before.cpu, delay })
  })()
})
// Whoever started it has gone, or has no more to ask: what it wrote goes too.
process.on('disconnect', () => { void close().finally(() => process.exit()) })
process.send?.('listens')
