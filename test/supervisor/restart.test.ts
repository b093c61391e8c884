import t from 'tap'
import { fullPolicy, lifecycleOf, noHealth, noRestart, type RestartState } from '../../src/runtime/lifecycle.ts'
import type { ExitView, RestartPolicyRequest } from '../../src/schemas/index.ts'
import { Deadlines } from '../../src/supervisor/deadlines.ts'
import { decideRestart } from '../../src/supervisor/restart-policy.ts'

const startedAt = '2026-01-01T00:00:00.000000000Z'
const exitedAt = '2026-01-01T00:00:05.000000000Z'
const later = (seconds: number): string => new Date(Date.parse(exitedAt) + seconds * 1000).toISOString()

function decide (policy: RestartPolicyRequest | null, facts: { status?: number | null, restart?: Partial<RestartState>, exit?: Partial<ExitView>, runId?: string, expired?: boolean } = {}) {
  const exit: ExitView = { status: facts.status === undefined ? 1 : facts.status, signal: null, oomKilled: false, reason: 'exited', exitedAt, outputComplete: true, ...facts.exit }
  return decideRestart({ policy: policy === null ? null : fullPolicy({ jitter: 0, ...policy }), restart: { ...noRestart, ...facts.restart }, runId: facts.runId ?? 'r', startedAt, exit, expired: facts.expired ?? false })
}

t.test('policy × end', async (t) => {
  for (const [name, status, restart, nextAt, reason] of [
    ['no', 1, {}, null, null],
    ['on-failure', 0, {}, null, 'succeeded'],
    ['on-failure', 1, {}, later(1), 'failed'],
    ['on-failure', null, {}, later(1), 'failed'],
    ['always', 0, {}, later(1), 'exited'],
    ['unless-stopped', 0, {}, later(1), 'exited'],
    ['always', 137, { stopped: true }, null, 'stopped'],
    ['unless-stopped', 137, { stopped: true }, null, 'stopped'],
    ['on-failure', 137, { stopped: true }, null, 'stopped']
  ] as const) t.match(decide({ name }, { status, restart }), { nextAt, reason }, `${name} ${status} ${JSON.stringify(restart)}`)
  t.match(decide(null), { nextAt: null, reason: null }, 'without a policy')
  t.match(decide({ name: 'always' }, { expired: true }), { nextAt: null, reason: 'expired' })
})

t.test('delays grow, are bounded, and begin anew after a long run', async (t) => {
  const policy = { name: 'always', initialDelay: 2, factor: 3, maxDelay: 10, maxAttempts: 4 } as const
  const delays = [0, 1, 2, 3].map((attempts) => decide(policy, { restart: { attempts } }).nextAt)
  t.same(delays, [later(2), later(6), later(10), later(10)])
  t.match(decide(policy, { restart: { attempts: 4 } }), { attempts: 4, nextAt: null, reason: 'gave-up' })
  t.match(decide({ ...policy, resetAfter: 5 }, { restart: { attempts: 4 } }), { attempts: 1, nextAt: later(2) }, 'it ran for as long as that')
  t.match(decide({ ...policy, resetAfter: 5 }, { restart: { attempts: 3 }, exit: { reason: 'start-failed' } }), { attempts: 4 }, 'one that never ran did not')
  for (const initialDelay of [0, 1]) t.equal(decide({ name: 'always', initialDelay, factor: 100, maxDelay: 10, jitter: 0 }, { restart: { attempts: 5000 } }).nextAt, later(initialDelay * 10), 'after ever so many tries')
})

t.test('jitter is within its bounds, differs between runs, and is the same for the same facts', async (t) => {
  const at = (runId: string): number => (Date.parse(decide({ name: 'always', initialDelay: 100, maxDelay: 100, jitter: 0.5 }, { runId }).nextAt ?? '') - Date.parse(exitedAt)) / 1000
  const delays = Array.from({ length: 200 }, (_, run) => at(`run ${run}`))
  t.ok(delays.every((delay) => delay >= 50 && delay <= 150))
  t.ok(new Set(delays).size > 190)
  t.ok(Math.min(...delays) < 60 && Math.max(...delays) > 140)
  t.equal(at('same'), at('same'))
})

t.test('a record without these fields', async (t) => {
  t.same(lifecycleOf(undefined), { restartPolicy: null, restart: noRestart, expiresAt: null, expired: false, healthCheck: null, health: noHealth })
  t.not(lifecycleOf().restart, noRestart, 'each has its own')
})

t.test('deadlines: in order, once, replaced and cleared', async (t) => {
  const deadlines = new Deadlines()
  t.teardown(() => deadlines.close())
  const seen: string[] = []
  let done = (): void => {}
  const last = new Promise<void>((resolve) => { done = resolve })
  deadlines.begin((kind, id) => {
    seen.push(`${kind} ${id}`)
    if (id === 'last') done()
  })
  const now = Date.now()
  const order = Array.from({ length: 300 }, (_, n) => (n * 7919) % 300)
  for (const n of order) deadlines.set('restart', `c${n}`, now - 1000 + n)
  deadlines.set('restart', 'last', now + 50)
  deadlines.set('lease', 'c7', now + 20)
  deadlines.set('restart', 'c5', now + 10)
  deadlines.clear('restart', 'c6')
  deadlines.set('lease', 'c8', now - 5)
  deadlines.forget('c8')
  for (let n = 0; n < 1000; n++) deadlines.set('lease', 'renewed', now + 3_600_000 + n)
  // The timer does not keep the process alive.
  const alive = setInterval(() => {}, 1000)
  await last
  clearInterval(alive)
  const expected = Array.from({ length: 300 }, (_, n) => n).filter((n) => ![5, 6, 8].includes(n)).map((n) => `restart c${n}`)
  t.same(seen, [...expected, 'restart c5', 'lease c7', 'restart last'])
})
