/**
 * Output and input of a process over the API: a key to its echo through a terminal, how long a flood with followers
 * keeps another request waiting, and a flood to the end of a follower against the same command into a file.
 * ROUNDS (1000) keys; MEGABYTES (256) of flood; FOLLOWERS (4).
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Attached } from '../test/support/attached.ts'
import { Daemon } from '../test/support/daemon.ts'

const rounds = Number(process.env.ROUNDS ?? 1000)
const megabytes = Number(process.env.MEGABYTES ?? 256)
const followers = Number(process.env.FOLLOWERS ?? 4)
const percentile = (values: number[], p: number): string => (values.toSorted((a, b) => a - b)[Math.floor(values.length * p)] ?? 0).toFixed(2)

const daemon = await Daemon.start()
try {
  const bundle = await daemon.bundle('pty', ['/bin/sh', '-c', 'busybox stty raw -echo; exec cat'], (config) => {
    config.mounts.push({ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance', 'ptmxmode=0666', 'mode=0620'] })
  })
  await daemon.post('/containers', { id: 'pty', bundle, process: { terminal: true } })
  const client = await Attached.open(daemon.socket, '/containers/pty/attach')
  let echo = 0
  const keys: number[] = []
  // The first ones warm up, and wait for stty.
  for (let round = -50; round < rounds; round++) {
    const began = performance.now()
    client.send('k')
    echo++
    await client.until(() => client.output.reduce((sum, { length }) => sum + length, 0) >= echo)
    if (round >= 0) keys.push(performance.now() - began)
    if (round % 50 === 0) {
      client.output.length = 0
      echo = 0
    }
  }
  console.log(`key to echo through a terminal: p50 ${percentile(keys, 0.5)} ms, p99 ${percentile(keys, 0.99)} ms (${rounds} keys)`)
  await client.close()

  const flood = await daemon.bundle('flood', ['/bin/sh', '-c', `while [ ! -e /tmp/go ]; do sleep 0.05; done; head -c ${megabytes * 1048576} /dev/zero`])
  await daemon.post('/containers', { id: 'flood', bundle: flood })
  let received = 0
  const readers: Promise<unknown>[] = []
  for (let i = 0; i < followers; i++) {
    const [response] = await once(http.get({ socketPath: daemon.socket, path: '/containers/flood/logs?follow=true', agent: false }), 'response') as [http.IncomingMessage]
    response.on('data', (chunk: Buffer) => { received += chunk.length })
    readers.push(once(response, 'end'))
  }
  await writeFile(join(daemon.directory, 'bundles/flood/rootfs/tmp/go'), '')
  const began = performance.now()
  const exit = daemon.get('/containers/flood/wait').then(() => performance.now() - began)
  const others: number[] = []
  const flooding = { over: false }
  void Promise.all(readers).then(() => { flooding.over = true })
  while (!flooding.over) {
    const asked = performance.now()
    await daemon.get('/healthz')
    others.push(performance.now() - asked)
  }
  const taken = performance.now() - began
  const path = join(daemon.directory, 'plain')
  const plainBegan = performance.now()
  await promisify(execFile)('/bin/sh', ['-c', `head -c ${megabytes * 1048576} /dev/zero | cat > ${path}`])
  const plain = performance.now() - plainBegan
  await rm(path)
  console.log(`${megabytes} MiB: written by the process in ${(await exit).toFixed(0)} ms with ${followers} followers (${(received / followers / 1048576).toFixed(0)} MiB each, ${taken.toFixed(0)} ms), by cat into a file in ${plain.toFixed(0)} ms`)
  console.log(`another request meanwhile: p50 ${percentile(others, 0.5)} ms, p99 ${percentile(others, 0.99)} ms, most ${Math.max(...others).toFixed(2)} ms (${others.length})`)
} finally {
  await daemon.destroy()
}
