/** The main jobs with crun as the runtime. */
import t from 'tap'
import { spawnSync } from 'node:child_process'
import { Daemon } from '../support/daemon.ts'
import { mainJobs } from '../support/main-jobs.ts'

const { error } = spawnSync('crun', ['--version'])

t.test('the main jobs with crun', { skip: error === undefined ? false : 'crun is not installed' }, async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  // crun 1.8 refuses a v1 set-up that has the v2 hierarchy beside it: it does not see that one.
  daemon.through = ['unshare', '--mount', 'sh', '-c', 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', 'sh']
  await daemon.launch(['--runtime', 'crun'])
  t.match((await daemon.get('/info')).body, { runtimes: [{ name: 'crun' }] })
  await mainJobs(t, daemon, { limits: true })
})
