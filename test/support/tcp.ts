import http from 'node:http'
import { once } from 'node:events'
import type { Daemon } from './daemon.ts'

export type Answer = { status: number, headers: http.IncomingHttpHeaders, text: string, body: any } // any: the wire, as a client without types sees it

/** Where a daemon listens on TCP, by its log. */
export function tcpAddress (daemon: Daemon): string {
  return [...daemon.output.matchAll(/"address":"([^"]+)"/g)].at(-1)?.[1] ?? ''
}

/** The admin token that a daemon printed at its first start. */
export function firstToken (daemon: Daemon): string {
  return /(lsh_[\w-]+)/.exec(daemon.output)?.[1] ?? ''
}

/** One request over TCP with just these headers, on a connection of its own. */
export async function ask (address: string, method: string, path: string, headers: Record<string, string> = {}, body?: unknown): Promise<Answer> {
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const request = http.request(`http://${address}${path}`, { method, agent: false, headers: { ...(payload === undefined ? {} : { 'content-type': 'application/json' }), ...headers } })
  request.end(payload)
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response) text += String(chunk)
  let parsed: unknown
  try { parsed = JSON.parse(text) } catch { parsed = undefined }
  return { status: response.statusCode ?? 0, headers: response.headers, text, body: parsed }
}

/** A stream over TCP: what it was answered, and its end. */
export async function openStream (address: string, path: string, headers: Record<string, string> = {}): Promise<{ status: number, has: (text: string) => Promise<void>, text: () => string, ended: Promise<void>, close: () => void }> {
  const request = http.get(`http://${address}${path}`, { agent: false, headers: { accept: 'text/event-stream', ...headers } })
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  let text = ''
  response.setEncoding('utf8')
  let look = (): void => {}
  response.on('data', (chunk: string) => {
    text += chunk
    look()
  })
  response.on('error', () => {})
  return {
    status: response.statusCode ?? 0,
    has: async (wanted) => await new Promise((resolve) => {
      look = () => { if (text.includes(wanted)) resolve() }
      look()
    }),
    text: () => text,
    ended: new Promise((resolve) => response.once('close', resolve)),
    close: () => request.destroy()
  }
}
