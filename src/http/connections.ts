import type net from 'node:net'

/** Keeps account of a server's connections, upgraded ones too, which the server itself forgets; `destroy` breaks off what is open. */
export function connectionsOf (server: net.Server, each: (socket: net.Socket) => void = () => {}): { destroy: () => void } {
  const open = new Set<net.Socket>()
  server.on('connection', (socket: net.Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    each(socket)
  })
  return { destroy: () => { for (const socket of open) socket.destroy() } }
}
