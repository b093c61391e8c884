import type { HealthCheckView, HealthView } from '../schemas/index.ts'

/** milliseconds since 1970 */
export type CheckFacts = { healthy: boolean, output: string, begunAt: number, endedAt: number }

/** What a check makes of what was known. Failures of checks that began within the start period do not count. */
export function judge (check: HealthCheckView, before: HealthView, startedAt: string | null, { healthy, output, begunAt, endedAt }: CheckFacts): HealthView {
  const known = { lastAt: new Date(endedAt).toISOString(), output }
  if (healthy) return { ...known, status: 'healthy', failingStreak: 0 }
  const early = startedAt !== null && begunAt < Date.parse(startedAt) + check.startPeriod * 1000
  if (early) return { ...known, status: before.status, failingStreak: before.failingStreak }
  const failingStreak = before.failingStreak + 1
  return { ...known, status: failingStreak >= check.retries ? 'unhealthy' : before.status, failingStreak }
}
