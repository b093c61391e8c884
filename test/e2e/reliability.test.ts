/** What is true after the worst has happened: reboots, full disks, stopped shims, processes that outlive their init. */
import t from 'tap'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { executed } from '../../src/runtime/executed.ts'
import { Daemon, trap } from '../support/daemon.ts'

const run = promisify(execFile)
const soon = async (): Promise<void> => await new Promise((resolve) => setTimeout(resolve, 20))

const memory = existsSync('/sys/fs/cgroup/memory/memory.oom_control')

async function alive (pid: number): Promise<boolean> {
  return !/^gone|\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => 'gone'))
}

t.test('the exit is the same whenever it is asked for', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('trap', trap(9))
  const { body } = await daemon.post('/containers', { id: 'asked', bundle, autoRemove: true })
  const early = Promise.all(Array.from({ length: 20 }, async () => await daemon.get('/containers/asked/wait')))
  const removed = daemon.get('/containers/asked/wait?condition=removed')
  await daemon.trapped('asked')
  await daemon.post('/containers/asked/signal', { signal: 'TERM' })
  const at = events.type('StateExit', 'asked').then(async (event) => ({ event, answer: await daemon.get('/containers/asked/wait') }))
  const { event, answer } = await at
  const { exit } = event.data
  t.match(exit, { status: 9, reason: 'exited' })
  t.same((await early).map(({ body }) => body), Array.from({ length: 20 }, () => exit), 'before')
  t.same(answer.body, exit, 'at')
  t.same((await removed).body, exit, 'until it is removed')
  t.equal((await daemon.get('/containers/asked')).status, 404)
  for (const path of ['/containers/asked/wait', `/containers/asked/wait?runId=${body.runId}`]) t.same((await daemon.get(path)).body, exit, 'after it is removed')
  await daemon.stop('SIGKILL')
  await daemon.launch()
  t.same((await daemon.get('/containers/asked/wait')).body, exit, 'over a restart')
  t.equal((await daemon.get('/containers/asked/wait?runId=none')).body.code, 'no_exit')
  events.close()
})

t.test("running means that the command runs, and no longer the runtime's own program", async (t) => {
  t.equal(await executed(process.pid), true)
  t.equal(await executed(2 ** 22), true, 'one that has ended')
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'made', bundle, start: false })
  t.equal(await executed(body.pid), false)
  await daemon.post('/containers/made/start')
  t.equal(await executed(body.pid), true)
})

t.test('after a reboot the exit is told as unknown, and the container can be started again', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'], (config) => { if (memory) config.linux.resources.memory = { limit: 16 * 1024 * 1024 } })
  const { body } = await daemon.post('/containers', { id: 'old', bundle })
  const hog = (await daemon.post('/containers/old/processes', { id: 'hog', args: ['/bin/sh', '-c', `while [ ! -e /tmp/go ]; do sleep 0.02; done; ${memory ? 'exec tail /dev/zero' : 'exit 3'}`] })).body
  // Reading a page brings what was told to the disk: this is a reboot, not the power cut that takes the last of it.
  await daemon.get('/events?follow=false', { accept: 'application/json' })
  await daemon.stop('SIGKILL')
  await writeFile(join(bundle, 'rootfs/tmp/go'), '')
  while (await alive(hog.pid)) await soon()
  while (!existsSync(join(daemon.root, 'containers/old', body.runId, 'processes/hog/hog.exit'))) await soon()
  const [shim = 0] = await daemon.shims()
  process.kill(shim, 'SIGKILL')
  process.kill(body.pid, 'SIGKILL')
  while (await alive(body.pid)) await soon()
  // What a reboot leaves: the durable directory as it was, nothing in the other, and the kernel has another name.
  await run('runc', ['--root', join(daemon.state, 'runtime'), 'delete', '--force', `old.${body.runId}`])
  await rm(daemon.state, { recursive: true })
  const record = join(daemon.root, 'containers/old/container.json')
  const kept = JSON.parse(await readFile(record, 'utf8'))
  await writeFile(record, JSON.stringify({ ...kept, run: { ...kept.run, bootId: 'an-earlier-one' } }))
  await daemon.launch()
  const events = await daemon.events('from=earliest')
  await events.next(({ event, data }) => event === 'StateExit' && data.processId === 'init')
  t.match(events.events.find(({ event, data }) => event === 'StateExit' && data.processId === 'hog')?.data.exit, memory ? { status: 137, signal: 'SIGKILL', reason: 'oom', oomKilled: true } : { status: 3 }, 'what the shim wrote down before it')
  t.match((await daemon.get('/containers/old')).body.exit, { status: null, signal: null, reason: 'host-rebooted' })
  t.equal((await daemon.post('/containers/old/start')).body.status, 'running')
  t.equal((await daemon.delete('/containers/old?force=true')).status, 204)
  t.same(events.types('old'), ['StateCreate', 'StateStart', 'StateStartProcess', ...(memory ? ['StateOOM'] : []), 'StateExit', 'StateExit', 'StateStart', 'StateExit', 'StateDelete'])
  events.close()
})

t.test("processes that outlive init, in the host's pid namespace and twice forked, go with the container", async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('shared', ['/bin/sh', '-c', '(sleep 1000 & echo $! > /tmp/child) & sleep 0.2; exit 4'], (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid')
  })
  await daemon.post('/containers', { id: 'shared', bundle })
  t.match((await events.type('StateExit', 'shared')).data.exit, { status: 4, reason: 'exited', outputComplete: false })
  const child = Number(await readFile(join(bundle, 'rootfs/tmp/child'), 'utf8'))
  t.equal((await daemon.delete('/containers/shared')).status, 204)
  t.equal(await alive(child), false)
  t.same(await daemon.shims(), [])
  events.close()
})

t.test('a shim that is stopped delays its own container only', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  await daemon.post('/containers', { id: 'stuck', bundle })
  const [shim = 0] = await daemon.shims()
  process.kill(shim, 'SIGSTOP')
  const deleted = daemon.delete('/containers/stuck?force=true')
  const began = performance.now()
  t.equal((await daemon.post('/containers', { id: 'free', bundle })).status, 201)
  t.equal((await daemon.delete('/containers/free?force=true')).status, 204)
  t.equal((await daemon.get('/containers')).status, 200)
  t.ok(performance.now() - began < 4000, 'while the other one waits')
  t.equal((await deleted).status, 204)
  t.match((await daemon.get('/containers/stuck/wait')).body, { reason: 'monitor-lost' })
  t.same(await daemon.shims(), [])
})

t.test('a full disk: no new work, true reads, and what happened meanwhile is told when there is room', async (t) => {
  const daemon = await Daemon.prepare()
  await mkdir(daemon.root, { mode: 0o700 })
  await run('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=700', 'tmpfs', daemon.root])
  t.teardown(async () => {
    await daemon.stop('SIGKILL')
    await run('umount', ['-l', daemon.root])
    await daemon.destroy()
  })
  await daemon.launch()
  const events = await daemon.events()
  const bundle = await daemon.bundle('trap', trap(5))
  await daemon.post('/containers', { id: 'full', bundle })
  const { body: later } = await daemon.post('/containers', { id: 'later', bundle })
  await daemon.trapped('full')
  await daemon.trapped('later')
  // The file system's reserve is used up too: whatever is left after the big one goes to small ones.
  await run('sh', ['-c', `dd if=/dev/zero of=${daemon.root}/filler bs=4k 2>/dev/null; for n in 1 2 3 4 5 6 7 8; do echo x > ${daemon.root}/small$n; done 2>/dev/null; true`])
  const answered = daemon.post('/containers/full/signal', { signal: 'TERM' })
  while ((await daemon.get('/readyz')).status === 200) await soon()
  t.match((await daemon.get('/readyz')).body, { status: 'journal-unwritable' })
  t.equal((await answered).status, 204)
  t.match((await daemon.post('/containers', { id: 'more', bundle })).body, { status: 503, code: 'not_ready' })
  // The first exit may have been told out of the lane, which is not on that disk; the second one has to wait for room.
  t.equal((await daemon.post('/containers/later/signal', { signal: 'TERM' })).status, 204)
  while (await alive(later.pid)) await soon()
  t.match((await daemon.get('/containers/later')).body, { status: 'running', exit: null }, 'nothing is shown that is not in the journal')
  t.same(events.types('later'), ['StateCreate', 'StateStart'])
  await run('sh', ['-c', `rm ${daemon.root}/filler ${daemon.root}/small*`])
  for (const id of ['full', 'later']) t.match((await events.type('StateExit', id)).data.exit, { status: 5, reason: 'exited' })
  while ((await daemon.get('/readyz')).status !== 200) await soon()
  for (const id of ['full', 'later']) t.equal((await daemon.delete(`/containers/${id}`)).status, 204)
  t.same(await readdir(join(daemon.root, 'containers')), [])
  events.close()
})

t.test('out of descriptors: new work is refused with the reason, reads go on, and nothing stays of what failed', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const used = (await readdir(`/proc/${daemon.pid}/fd`)).length
  await daemon.stop()
  const few = join(daemon.directory, 'few')
  await writeFile(few, `#!/bin/sh\nulimit -n ${used + 16}\nexec ${daemon.program} "$@"\n`, { mode: 0o755 })
  daemon.program = few
  await daemon.launch()
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const made: string[] = []
  let refused
  for (let n = 0; n < 40 && refused === undefined; n++) {
    const reply = await daemon.post('/containers', { id: `c${n}`, bundle })
    if (reply.status === 201) made.push(`c${n}`)
    else refused = reply
  }
  t.match(refused?.body, { status: 503, code: 'out_of_resources', detail: /file descriptors/ })
  t.equal((await daemon.get('/containers')).body.items.length, made.length, 'reads go on')
  t.same((await daemon.shims()).length, made.length, 'nothing stays of what failed')
  for (const id of made) t.equal((await daemon.delete(`/containers/${id}?force=true`)).status, 204)
  t.equal((await daemon.post('/containers', { id: 'again', bundle })).status, 201, 'it goes on as before')
})

t.test('a process that the shim has and no record knows is ended by the next daemon, and its place is free', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  await daemon.launch([], { LONGSHORE_FAILPOINT: 'exec.asked' })
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  const { body } = await daemon.post('/containers', { id: 'one', bundle })
  const [shim = 0] = await daemon.shims()
  const descriptors = async (): Promise<number> => (await readdir(`/proc/${shim}/fd`)).length
  const own = await descriptors()
  await daemon.post('/containers/one/processes', { id: 'beside', args: ['/bin/sleep', '1000'] }).catch(() => {})
  await daemon.stop('SIGKILL')
  // The shim has been asked, and makes it; what would say so is taken away.
  await rm(join(daemon.root, 'containers/one', body.runId, 'processes/beside'), { recursive: true })
  await daemon.launch()
  t.match((await daemon.get('/containers/one')).body, { status: 'running', processes: [{ id: 'init' }] })
  while (await descriptors() !== own) await soon()
  const groups = (await readFile(`/proc/${body.pid}/cgroup`, 'utf8')).split('\n').find((line) => /:(pids|):/.test(line))?.split(':') ?? []
  const procs = await readFile(join('/sys/fs/cgroup', groups[1] ?? '', groups[2] ?? '', 'cgroup.procs'), 'utf8').catch(() => `${body.pid}\n`)
  t.equal(procs.trim(), String(body.pid), 'init is alone')
  t.equal((await daemon.post('/containers/one/processes?wait=true', { args: ['/bin/true'] })).body.exit.status, 0)
})
