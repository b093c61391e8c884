import t from 'tap'
import { fullHealthCheck, lifecycleOf, lifecycleView, noHealth, noRestart } from '../../src/runtime/lifecycle.ts'
import type { ExitView, HealthView } from '../../src/schemas/index.ts'
import { HealthChecks } from '../../src/supervisor/health-checks.ts'
import { judge } from '../../src/supervisor/health-decision.ts'
import { oneCheck } from '../../src/supervisor/health.ts'
import { decideRestart } from '../../src/supervisor/restart-policy.ts'

const startedAt = '2026-01-01T00:00:00.000000000Z'
const start = Date.parse(startedAt)

t.test('a row of checks', async (t) => {
  const check = fullHealthCheck({ tcp: { port: 1 }, retries: 2, startPeriod: 10 })
  let health: HealthView = noHealth
  for (const [second, healthy, status, failingStreak] of [
    [1, false, 'starting', 0],
    [9.999, false, 'starting', 0],
    [10, false, 'starting', 1],
    [11, true, 'healthy', 0],
    [12, false, 'healthy', 1],
    [13, true, 'healthy', 0],
    [14, false, 'healthy', 1],
    [15, false, 'unhealthy', 2],
    [16, false, 'unhealthy', 3],
    [17, true, 'healthy', 0]
  ] as const) {
    health = judge(check, health, startedAt, { healthy, output: `at ${second}`, begunAt: start + second * 1000, endedAt: start + second * 1000 + 500 })
    t.same(health, { status, failingStreak, output: `at ${second}`, lastAt: new Date(start + second * 1000 + 500).toISOString() }, `at ${second}`)
  }
  t.match(judge(check, noHealth, startedAt, { healthy: false, output: '', begunAt: start + 9000, endedAt: start + 20_000 }), { failingStreak: 0 }, 'by when it began')
})

t.test('exactly one kind; defaults', async (t) => {
  t.same(oneCheck({ http: { port: 80 } }, false), { http: { path: '/', port: 80 }, interval: 30, timeout: 30, retries: 3, startPeriod: 0, onUnhealthy: 'none' })
  for (const check of [{}, { tcp: { port: 1 }, http: { port: 1 } }, { exec: { args: ['a'] }, tcp: { port: 1 } }]) t.throws(() => oneCheck(check, false), { code: 'bad_request' })
  t.throws(() => oneCheck({ tcp: { port: 1 }, onUnhealthy: 'restart' }, true), { code: 'bad_request' })
})

t.test('what is shown belongs to the run', async (t) => {
  const lifecycle = lifecycleOf({ healthCheck: fullHealthCheck({ tcp: { port: 1 } }), health: { ...noHealth, status: 'unhealthy', failingStreak: 3, runId: 'one' } })
  t.match(lifecycleView(lifecycle, 'one').health, { status: 'unhealthy' })
  t.same(lifecycleView(lifecycle, 'two').health, { status: 'starting', failingStreak: 0, lastAt: null, output: null })
  t.equal(lifecycleView(lifecycleOf({}), 'one').health, null)
})

t.test('a run that was unhealthy is followed by another one, whatever its status', async (t) => {
  const exit: ExitView = { status: 0, signal: null, oomKilled: false, reason: 'exited', exitedAt: '2026-01-01T00:00:05.000000000Z', outputComplete: true }
  const facts = { policy: null, restart: { ...noRestart, unhealthy: 'r' }, runId: 'r', startedAt, exit, expired: false }
  t.same(decideRestart(facts), { attempts: 1, nextAt: '2026-01-01T00:00:05.000Z', reason: 'unhealthy' })
  t.match(decideRestart({ ...facts, runId: 'later' }), { nextAt: null, reason: null }, 'only that one')
  t.match(decideRestart({ ...facts, restart: { ...facts.restart, stopped: true } }), { nextAt: null, reason: 'stopped' }, 'unless somebody wants it stopped')
  t.match(decideRestart({ ...facts, expired: true }), { nextAt: null, reason: 'expired' })
  t.match(decideRestart({ ...facts, exit: { ...exit, reason: 'start-failed' } }), { nextAt: '2026-01-01T00:00:06.000Z' }, 'a start that fails is not tried without a pause')
  const policy = { name: 'on-failure', maxAttempts: 2, initialDelay: 3, factor: 2, maxDelay: 60, jitter: 0, resetAfter: 10 } as const
  t.match(decideRestart({ ...facts, policy }), { nextAt: '2026-01-01T00:00:08.000Z', reason: 'unhealthy' }, 'by the delays of its policy')
  t.match(decideRestart({ ...facts, policy, restart: { ...facts.restart, attempts: 2 } }), { nextAt: null, reason: 'gave-up' }, 'and its bound')
})

t.test('never two at once, so many of all, and broken off', async (t) => {
  const checks = new HealthChecks()
  const under: string[] = []
  const ends = new Map<string, () => void>()
  const begin = (id: string) => checks.run(id, 'exec', async () => {
    under.push(id)
    await new Promise<void>((resolve) => ends.set(id, resolve))
    return { healthy: true, output: id }
  })
  const all = Array.from({ length: 17 }, (_, at) => begin(`c${at}`))
  t.equal(await begin('c0'), undefined, 'one for each')
  t.equal(under.length, 16)
  ends.get('c0')?.()
  t.same(await all[0], { healthy: true, output: 'c0' })
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(under.at(-1), 'c16', 'the one that waited has its place')
  checks.abort('c1')
  ends.get('c1')?.()
  t.equal(await all[1], undefined, 'what was broken off says nothing')
  let held = false
  const hold = checks.hold('c2').then((release) => { held = true; return release })
  t.equal(await begin('c2'), undefined)
  t.notOk(held, 'not before it is over')
  ends.get('c2')?.()
  const release = await hold
  t.equal(await all[2], undefined)
  t.equal(await begin('c2'), undefined, 'none while it is held')
  release()
  const again = begin('c2')
  await new Promise((resolve) => setImmediate(resolve))
  ends.get('c2')?.()
  t.match(await again, { healthy: true })
  checks.close()
  for (const end of ends.values()) end()
  t.ok((await Promise.all(all.slice(2))).every((outcome) => outcome === undefined))
  t.equal(await begin('late'), undefined)
})

t.test('who holds waits only for what is executed in the container', async (t) => {
  const checks = new HealthChecks()
  t.teardown(() => checks.close())
  const ends: (() => void)[] = []
  const check = async (): Promise<{ healthy: boolean, output: string }> => {
    await new Promise<void>((resolve) => { ends.push(resolve) })
    return { healthy: true, output: '' }
  }
  const probe = checks.run('probed', 'probe', check)
  await new Promise((resolve) => setImmediate(resolve))
  await checks.hold('probed')
  const places = Array.from({ length: 16 }, (_, at) => checks.run(`c${at}`, 'exec', check))
  const waits = checks.run('waits', 'exec', check)
  await new Promise((resolve) => setImmediate(resolve))
  const release = await checks.hold('waits')
  t.equal(ends.length, 17, 'the probe and the sixteen go on meanwhile')
  for (const end of ends) end()
  t.equal(await probe, undefined)
  t.equal(await waits, undefined, 'that waited for its place, and never began')
  t.equal(ends.length, 17)
  await Promise.all(places)
  release()
})
