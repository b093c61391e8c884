/** The main jobs where there is only cgroup v2. */
import t from 'tap'
import { readFile } from 'node:fs/promises'
import { Daemon, onCgroup2 } from '../support/daemon.ts'
import { mainJobs } from '../support/main-jobs.ts'

t.test('the main jobs on cgroup v2 alone', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  daemon.through = onCgroup2
  await daemon.launch()
  // On a machine that has v1 too, its controllers stay there: what is seen here freezes, counts and kills, and limits nothing.
  const v1 = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').some((line) => / - cgroup .*\bmemory\b/.test(line))
  await mainJobs(t, daemon, { limits: !v1 })
})
