/** node event-server.ts bare|longshore SOCKET: publishes so many events as it is told by message, one in each turn of the loop at most. */
import net from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { makeApi } from '../../test/support/api.ts'

const [, , kind, path = ''] = process.argv
type Command = { events: number, pauseMs?: number } | { idle: true }
const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve))
const labels = (): Record<string, string> => ({ app: 'bench', t: process.hrtime.bigint().toString() })
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()

let publish: () => Promise<unknown> | undefined
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
  const api = await makeApi(['--max-subscribers', '20000'])
  await api.app.listen({ path })
  publish = async () => await api.journal.append({ type: 'StateUpdate', containerId: 'web', labels: labels() })
}

process.on('message', (command: Command) => {
  void (async () => {
    if ('idle' in command) {
      global.gc?.()
      process.send?.({ rss: process.memoryUsage.rss() })
      return
    }
    delay.reset()
    const cpu = process.cpuUsage()
    for (let n = 0; n < command.events; n++) {
      void publish()
      if (command.pauseMs === undefined) await turn()
      else await new Promise((resolve) => setTimeout(resolve, command.pauseMs))
    }
    const { user, system } = process.cpuUsage(cpu)
    process.send?.({ cpu: user + system, delay: delay.max / 1e6 })
  })()
})
process.send?.('listens')
