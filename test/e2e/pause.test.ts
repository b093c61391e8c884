/** Freezing and thawing, on real runtimes, on the hierarchy that the machine has and on v2. */
import t from 'tap'
import { execFile } from 'node:child_process'
import { access, chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Failpoint } from '../../src/failpoints.ts'
import { Daemon, onCgroup2, trap, type Reply } from '../support/daemon.ts'

const run = promisify(execFile)

/** What the runtime itself says of a container. */
async function runtimeStatus (daemon: Daemon, { id, runId }: { id: string, runId: string }): Promise<string> {
  const [program = '', ...before] = [...daemon.through, 'runc', '--root', join(daemon.state, 'runtime'), 'state', `${id}.${runId}`]
  return JSON.parse((await run(program, before)).stdout).status
}

const pause = async (daemon: Daemon, id: string): Promise<Reply> => await daemon.post(`/containers/${id}/pause`)
const resume = async (daemon: Daemon, id: string): Promise<Reply> => await daemon.post(`/containers/${id}/resume`)

for (const through of [[], onCgroup2]) {
  t.test(`paused and resumed, ${through.length === 0 ? 'as the machine has it' : 'on cgroup v2'}`, async (t) => {
    const daemon = await Daemon.prepare()
    daemon.through = through
    t.teardown(async () => await daemon.destroy())
    await daemon.launch()
    const events = await daemon.events()
    const bundle = await daemon.bundle('trap', trap(6))
    const { body } = await daemon.post('/containers', { id: 'one', bundle, labels: { app: 'web' } })

    t.match(await resume(daemon, 'one'), { status: 409, body: { code: 'container_not_paused' } })
    const frozen = await daemon.post('/containers/one/pause', undefined, { 'x-request-id': 'the-cause' })
    t.match(frozen, { status: 200, body: { id: 'one', status: 'paused', pid: body.pid, runId: body.runId } })
    t.equal(await runtimeStatus(daemon, body), 'paused', 'the runtime says so too')
    const told = await events.type('StatePause', 'one')
    t.match(told.data, { runId: body.runId, processId: 'init', pid: body.pid, labels: { app: 'web' }, requestId: 'the-cause' })
    t.match((await daemon.get('/containers/one')).body, { status: 'paused', lastEventId: told.id })
    t.match((await daemon.get('/containers?status=paused')).body.items, [{ id: 'one' }])
    t.match(await pause(daemon, 'one'), { status: 409, body: { code: 'container_paused' } })
    t.match(await daemon.post('/containers/one/processes', { args: ['/bin/true'] }), { status: 409, body: { code: 'container_paused' } })

    t.match(await resume(daemon, 'one'), { status: 200, body: { status: 'running' } })
    t.equal(await runtimeStatus(daemon, body), 'running')
    await events.type('StateResume', 'one')

    await daemon.trapped('one')
    await pause(daemon, 'one')
    t.equal((await daemon.post('/containers/one/signal', { signal: 'TERM' })).status, 204)
    t.match((await daemon.get('/containers/one')).body, { status: 'paused', exit: null }, 'the signal waits')
    t.equal((await resume(daemon, 'one')).status, 200)
    t.match((await events.type('StateExit', 'one')).data.exit, { status: 6 }, 'and is acted on after the resume')
    t.match(await pause(daemon, 'one'), { status: 409, body: { code: 'container_not_running' } })
    t.match(await resume(daemon, 'one'), { status: 409, body: { code: 'container_not_running' } })
    t.match(await pause(daemon, 'nobody'), { status: 404, body: { code: 'container_not_found' } })
    t.same(events.types('one'), ['StateCreate', 'StateStart', 'StatePause', 'StateResume', 'StatePause', 'StateResume', 'StateExit'])

    for (const [id, end, expected] of [
      ['stop', async () => await daemon.post('/containers/stop/stop', { timeout: 60 }), { status: 6, signal: null }],
      ['kill', async () => await daemon.post('/containers/kill/signal', { signal: 'KILL' }), { status: 137, signal: 'SIGKILL' }],
      ['all', async () => await daemon.post('/containers/all/signal', { signal: 'KILL', all: true }), { status: 137, signal: 'SIGKILL' }],
      ['force', async () => await daemon.delete('/containers/force?force=true'), { status: 137, signal: 'SIGKILL' }]
    ] as const) {
      await daemon.post('/containers', { id, bundle })
      await daemon.trapped(id)
      t.equal((await pause(daemon, id)).status, 200)
      t.ok((await end()).status < 300, `${id} works on a paused one`)
      t.match((await events.type('StateExit', id)).data.exit, expected)
    }
    t.same(events.types('stop'), ['StateCreate', 'StateStart', 'StatePause', 'StateResume', 'StateExit'], 'it went on, to act on the signal')

    await daemon.post('/containers', { id: 'fresh', bundle, start: false })
    t.match(await pause(daemon, 'fresh'), { status: 409, body: { code: 'container_not_running' } })
    events.close()
  })
}

t.test('paused over the end of the daemon, wherever that comes', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const die = (point: Failpoint): Record<string, string> => ({ LONGSHORE_FAILPOINT: point })
  await daemon.launch([], die('pause.frozen'))
  const { body } = await daemon.post('/containers', { id: 'one', bundle: await daemon.bundle('trap', trap(6)) })
  await t.rejects(pause(daemon, 'one'), 'it dies after the freeze')

  const comesBack = async (status: string, env: Record<string, string> = {}): Promise<void> => {
    await daemon.stop('SIGKILL')
    await daemon.launch([], env)
    t.match((await daemon.get('/containers/one')).body, { status, pid: body.pid })
    t.equal(await runtimeStatus(daemon, body), status)
  }
  await comesBack('paused', die('resume.thawed'))
  await t.rejects(resume(daemon, 'one'), 'it dies after the thaw')
  await comesBack('running')
  t.equal((await pause(daemon, 'one')).status, 200)
  await comesBack('paused')
  const { items } = (await daemon.get('/events?follow=false')).body
  t.same(items.map(({ type }: { type: string }) => type), ['StateCreate', 'StateStart', 'StatePause', 'StateResume', 'StatePause'], 'each told once')
  await daemon.post('/containers/one/stop', { timeout: 60 })
  t.match((await daemon.get('/containers/one')).body, { status: 'stopped', exit: { status: 6 } })
})

t.test('a pause comes before or after an exec, never into the middle of one', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  t.teardown(() => events.close())
  // By the name of runc, so that the daemon freezes by itself. Its exec says that it was called, and waits for a word.
  const runtime = join(daemon.directory, 'slow/runc')
  const word = async (name: string): Promise<void> => await writeFile(join(daemon.directory, name), '')
  await mkdir(join(daemon.directory, 'slow'))
  await writeFile(runtime, `#!/bin/sh
cd ${daemon.directory}
for word in "$@"; do [ "$word" = exec ] && { touch called; while [ ! -e go ]; do sleep 0.02; done; }; done
exec runc "$@"
`, { mode: 0o755 })
  const called = async (): Promise<void> => {
    while (!await access(join(daemon.directory, 'called')).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const pauseWaits = async (id: string): Promise<void> => {
    for (;;) {
      const { step } = (await daemon.get('/tasks')).body.items.find(({ kind }: { kind: string }) => kind === 'pause') ?? {}
      if (step === `waiting for processes that are being started: ${id}`) return
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await daemon.post('/containers', { id: 'one', bundle: await daemon.bundle('trap', trap(6)), runtime })
  const exec = daemon.post('/containers/one/processes', { id: 'early', args: ['/bin/sleep', '1000'] })
  await called()
  const pausing = pause(daemon, 'one')
  await pauseWaits('early')
  t.match(await daemon.post('/containers/one/processes', { args: ['/bin/true'] }), { status: 409, body: { code: 'container_paused' } }, 'no further one begins')
  await word('go')
  t.match(await exec, { status: 201 })
  t.match(await pausing, { status: 200, body: { status: 'paused' } })
  t.same(events.types('one'), ['StateCreate', 'StateStart', 'StateStartProcess', 'StatePause'])
  t.equal((await resume(daemon, 'one')).status, 200)
  // A stop is not held up by a pause that waits.
  await rm(join(daemon.directory, 'go'))
  await rm(join(daemon.directory, 'called'))
  const stuck = daemon.post('/containers/one/processes', { id: 'stuck', args: ['/bin/sleep', '1000'] })
  await called()
  const overtaken = pause(daemon, 'one')
  await pauseWaits('stuck')
  const began = performance.now()
  const stopped = daemon.post('/containers/one/stop', { timeout: 5 })
  t.match(await overtaken, { status: 409, body: { code: 'invalid_state' } })
  await word('go')
  t.match(await stuck, { status: 409, body: { code: 'container_not_running' } })
  t.match(await stopped, { status: 200, body: { status: 'stopped' } })
  t.ok(performance.now() - began < 4000, 'long before the pause would have given up')
  t.match(await daemon.post('/containers/one/start'), { status: 200 })
  // At once, however often: each exec is whole or refused.
  for (let round = 0; round < 3; round++) {
    const racing = Array.from({ length: 6 }, async () => await daemon.post('/containers/one/processes?wait=true', { args: ['/bin/true'] }))
    await new Promise((resolve) => setTimeout(resolve, 15 * round))
    t.equal((await pause(daemon, 'one')).status, 200)
    t.equal((await resume(daemon, 'one')).status, 200)
    for (const { status, body } of await Promise.all(racing)) t.match(status === 201 ? { status, exit: body.exit.status } : { status, code: body.code }, status === 201 ? { exit: 0 } : { status: 409, code: 'container_paused' })
  }
})

t.test('a runtime whose state is not that of the freezer is asked itself', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const runtime = join(daemon.directory, 'sandbox')
  await writeFile(runtime, `#!/bin/sh
echo "$*" >> ${daemon.directory}/calls
case "$*" in *" pause "*) [ -e ${daemon.directory}/refuse ] && { echo '{"level":"error","msg":"no pause today"}' >> "$(echo "$*" | sed 's/.*--log \\([^ ]*\\).*/\\1/')"; exit 1; } ;; esac
exec runc "$@"
`)
  await chmod(runtime, 0o755)
  const { body } = await daemon.post('/containers', { id: 'one', bundle: await daemon.bundle('trap', trap(6)), runtime })
  t.match(await pause(daemon, 'one'), { status: 200, body: { status: 'paused' } })
  t.equal(await runtimeStatus(daemon, body), 'paused')
  t.match(await readFile(join(daemon.directory, 'calls'), 'utf8'), / pause one\./)
  t.match(await resume(daemon, 'one'), { status: 200, body: { status: 'running' } })
  t.match(await readFile(join(daemon.directory, 'calls'), 'utf8'), / resume one\./)
  await writeFile(join(daemon.directory, 'refuse'), '')
  t.match(await pause(daemon, 'one'), { status: 422, body: { code: 'runtime_failed', runtime: 'no pause today' } })
  t.match((await daemon.get('/containers/one')).body, { status: 'running' })
})
