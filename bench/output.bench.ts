/**
 * Output and input of a process over the API: a key to its echo through a terminal, how long a flood with followers
 * keeps another request waiting, and a flood without and with followers against the same command into a file, in turn.
 * ROUNDS (1000) keys; MEGABYTES (256) of flood, FLOODS (3) times; FOLLOWERS (4).
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { access, readFile, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Attached } from '../test/support/attached.ts'
import { Daemon } from '../test/support/daemon.ts'

const rounds = Number(process.env.ROUNDS ?? 1000)
const megabytes = Number(process.env.MEGABYTES ?? 256)
const floods = Number(process.env.FLOODS ?? 3)
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

  for (let round = 0; round < floods; round++) {
    for (const count of new Set([0, followers])) await flood(count, `${round}-${count}`)
  }
} finally {
  await daemon.destroy()
}

/** Milliseconds of CPU time that processes have used (proc(5): utime and stime, in ticks of 10 ms). */
async function cpu (pids: number[]): Promise<number> {
  const stats = await Promise.all(pids.map(async (pid) => (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []))
  return stats.reduce((sum, fields) => sum + (Number(fields[11]) + Number(fields[12])) * 10, 0)
}

async function flood (count: number, id: string): Promise<void> {
  const command = `busybox head -c ${megabytes * 1048576} /dev/zero`
  const bundle = await daemon.bundle(id, ['/bin/sh', '-c', `while [ ! -e /tmp/go ]; do sleep 0.05; done; ${command}; touch /tmp/done; [ ${count} -gt 0 ] || sleep 1000`])
  const rootfs = join(daemon.directory, 'bundles', id, 'rootfs/tmp')
  const known = await daemon.shims()
  await daemon.post('/containers', { id, bundle, start: false })
  const shim = (await daemon.shims()).filter((pid) => !known.includes(pid))
  await daemon.post(`/containers/${id}/start`)
  let received = 0
  const readers: Promise<unknown>[] = []
  for (let i = 0; i < count; i++) {
    const [response] = await once(http.get({ socketPath: daemon.socket, path: `/containers/${id}/logs?follow=true`, agent: false }), 'response') as [http.IncomingMessage]
    response.on('data', (chunk: Buffer) => { received += chunk.length })
    readers.push(once(response, 'end'))
  }
  const before = [await cpu([daemon.pid]), await cpu(shim)]
  const began = performance.now()
  await writeFile(join(rootfs, 'go'), '')
  const waits: number[] = []
  const written = (async () => {
    while (!await access(join(rootfs, 'done')).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 1))
    return performance.now() - began
  })()
  const flooding = { over: false }
  void Promise.all([written, ...readers]).then(() => { flooding.over = true })
  while (!flooding.over) {
    const asked = performance.now()
    await daemon.get('/healthz')
    waits.push(performance.now() - asked)
    // One that asks without a rest would be what keeps the flood from going on.
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const taken = performance.now() - began
  const used = [await cpu([daemon.pid]) - (before[0] ?? 0), count > 0 ? undefined : await cpu(shim) - (before[1] ?? 0)]
  await daemon.delete(`/containers/${id}?force=true`)
  const path = join(daemon.directory, 'plain')
  const plainBegan = performance.now()
  await promisify(execFile)('/bin/sh', ['-c', `${command} | cat > ${path}`])
  const plain = performance.now() - plainBegan
  await rm(path)
  console.log(`${megabytes} MiB with ${count} followers: written by the process in ${(await written).toFixed(0)} ms, by cat into a file in ${plain.toFixed(0)} ms, ratio ${((await written) / plain).toFixed(2)}; CPU of the ${used[1] === undefined ? '' : `shim ${used[1]} ms, of the `}daemon ${used[0]} ms`)
  if (count > 0) console.log(`  each follower has ${(received / count / 1048576).toFixed(0)} MiB after ${taken.toFixed(0)} ms`)
  console.log(`  another request meanwhile: p50 ${percentile(waits, 0.5)} ms, p99 ${percentile(waits, 0.99)} ms, most ${Math.max(...waits).toFixed(2)} ms (${waits.length})`)
}
