/**
 * The longest that each kind of work holds the daemon's event loop (support/loop-probe.ts): by CPU time of its own, which is what
 * the promise of 5 ms is about, and by the wall, which on a busy machine is mostly others' work. CONTAINERS (1000), READERS (1000);
 * ONLY: which of them, by a part of their name; LOOP_STRICT=1: fails when the promise is broken.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Daemon, project } from '../test/support/daemon.ts'
import type { Held } from './support/loop-probe.ts'

const containers = Number(process.env.CONTAINERS ?? 1000)
const readers = Number(process.env.READERS ?? 1000)
const only = process.env.ONLY?.split(',')
const bound = 5

const daemon = await Daemon.prepare()
const report = join(daemon.directory, 'held.json')
const clock = join(daemon.directory, 'thread-clock.node')
const env = { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${join(import.meta.dirname, 'support/loop-probe.ts')}`, LOOP_PROBE: report, LOOP_CLOCK: clock }
const args = ['--log-level', 'warn', '--metrics-containers', '300', '--max-subscribers', String(readers + 200)]
let broken = 0

const chosen = (name: string): boolean => only === undefined || only.some((part) => name.includes(part))

async function held (): Promise<Held> {
  await rm(report, { force: true })
  process.kill(daemon.pid, 'SIGUSR2')
  for (;;) {
    const text = await readFile(report, 'utf8').catch(() => undefined)
    if (text !== undefined) return JSON.parse(text) as Held
    await delay(10)
  }
}

const list = (values: Record<string, number>): string => Object.entries(values).sort(([, a], [, b]) => b - a).slice(0, 4).map(([name, ms]) => `${name} ${ms.toFixed(1)}`).join(', ')

async function measure (name: string, work: () => Promise<unknown>, { once: single = false, restarts = false } = {}): Promise<void> {
  if (!chosen(name)) return
  // The first time compiles; what is held to is what comes after it.
  if (!single) await work()
  if (!restarts) await held()
  await work()
  const { all, own, over, by, collected, wall } = await held()
  if (own > bound) broken++
  console.log(`| ${name} | ${own.toFixed(1)} | ${over} | ${all.toFixed(1)} | ${list(by)} | ${list(collected)} | ${wall.toFixed(1)} |`)
}

async function many (count: number, atOnce: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => { while (next < count) await work(next++) }))
}

async function stream (path: string, headers: Record<string, string>): Promise<http.IncomingMessage> {
  const [response] = await once(http.get({ socketPath: daemon.socket, path, headers, agent: false }), 'response') as [http.IncomingMessage]
  response.on('error', () => {})
  response.resume()
  return response
}

async function follow (paths: string[], headers: Record<string, string>, seconds: number): Promise<void> {
  const open = await Promise.all(paths.map(async (path) => await stream(path, headers)))
  await delay(seconds * 1000)
  for (const one of open) one.destroy()
}

try {
  const program = join(daemon.directory, 'event-readers')
  await promisify(execFile)('cc', ['-O2', '-o', program, join(project, 'bench/support/event-readers.c')])
  const { stdout: uv } = await promisify(execFile)(join(project, 'toolchain/find-uv.sh'))
  await promisify(execFile)('cc', ['-O2', '-shared', '-fPIC', '-I', join(project, 'node_modules/node-api-headers/include'), ...uv.trim() === '/usr/include' ? [] : ['-I', uv.trim()], '-o', clock, join(project, 'bench/support/thread-clock.c')])
  const quick = await daemon.bundle('quick', ['/bin/true'])
  const sleeper = await daemon.bundle('sleeper', ['/bin/sleep', '100000'])
  const flood = await daemon.bundle('flood', ['/bin/sh', '-c', 'while :; do echo a line of some thirty bytes; done'])
  let made = 0
  const create = async (): Promise<void> => {
    const { status, text } = await daemon.post('/containers', { id: `c${made++}`, bundle: sleeper })
    if (status !== 201) throw new Error(text)
  }
  let lives = 0
  const life = async (): Promise<void> => {
    const id = `life-${lives++}`
    await daemon.post('/containers', { id, bundle: quick })
    await daemon.get(`/containers/${id}/wait`)
    await daemon.delete(`/containers/${id}?force=true`)
  }

  console.log('| what | own, ms | over 5 ms | with garbage collection, ms | longest by kind of callback | garbage collection, wall | wall, ms |\n|---|---|---|---|---|---|---|')
  await daemon.launch(args, env)
  await measure('start', async () => await delay(500), { once: true, restarts: true })
  await measure('rest: memory is given back', async () => await delay(6000), { once: true })
  await measure('the description', async () => await Promise.all(['json', 'yaml'].map(async (form) => await daemon.get(`/openapi.${form}`))))
  await measure('lifecycles, 16 at once', async () => await many(64, 16, life))

  await daemon.post('/containers', { id: 'flood', bundle: flood })
  await measure('a flood of output, 8 followers', async () => await follow(Array.from({ length: 8 }, () => '/containers/flood/logs?follow=true'), { accept: 'text/event-stream' }, 3))
  await daemon.delete('/containers/flood?force=true')

  await many(Math.min(100, containers), 8, create)
  await measure('statistics of 100, streamed', async () => await follow(['/stats?interval=1'], { accept: 'text/event-stream' }, 4))
  await many(Math.min(300, containers) - made, 8, create)
  await measure('a scrape of 300', async () => {
    for (let round = 0; round < 5; round++) {
      await daemon.get('/metrics')
      await delay(1100)
    }
  })

  const crowd = spawn(program, [daemon.socket, String(readers), '0', 'from=now'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(crowd, 'exit')
  await once(createInterface(crowd.stdout), 'line')
  await measure(`events to ${readers} readers`, async () => await many(48, 16, life))
  crowd.kill()
  await ended
  await measure('50 readers replay all', async () => await follow(Array.from({ length: 50 }, () => '/events?from=earliest'), { accept: 'text/event-stream' }, 3))
  await measure('a page of events', async () => await daemon.get('/events?from=earliest&limit=1000', { accept: 'application/json' }))

  if (['list', 'snapshot', 'restore'].some(chosen)) await many(containers - made, 8, create)
  await measure(`a list of ${containers}`, async () => { for (let round = 0; round < 5; round++) await daemon.get('/containers?limit=1000') })
  await measure(`a snapshot of ${containers}`, async () => await follow(['/events?from=now&snapshot=true'], { accept: 'text/event-stream' }, 1))
  if (chosen('restore')) {
    await daemon.stop('SIGKILL')
    await daemon.launch(args, env)
  }
  await measure(`restore of ${containers}`, async () => await delay(500), { once: true, restarts: true })
} finally {
  await daemon.destroy()
}
if (broken > 0 && process.env.LOOP_STRICT !== undefined) {
  console.error(`${broken} kinds of work held the loop for longer than ${bound} ms`)
  process.exitCode = 1
}
