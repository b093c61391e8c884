/** The daemon dies at each step of create, start, exit, delete and restore; the next one brings it to a true end. */
import t from 'tap'
import { failpointRun, type Step } from './failpoint-run.ts'

t.setTimeout(390_000)
t.jobs = 2

const steps: Step[] = [
  'create.recorded', 'create.spawned', 'create.armed', 'create.told', 'create.recorded:2', 'create.spawned:2', 'create.armed:2',
  'start.called', 'start.told', 'start.called:2', 'exit.seen', 'exit.told', 'teardown.deleted', 'teardown.quit', 'teardown.cleared', 'delete.forgotten', 'delete.told',
  'journal.committed:1', 'journal.committed:2', 'journal.committed:3', 'journal.committed:4', 'journal.committed:6',
  'restore.loaded', 'restore.connected', 'restore.armed'
]

for (const [index, step] of steps.entries()) {
  t.test(step, { buffered: true, timeout: 180_000 }, async (t) => {
    // Two at once: each looks for what is left of its own.
    const { verdict, deaths, story } = await failpointRun(step, process.pid * 100 + index)
    t.equal(deaths, 1, 'it died once')
    for (const [what, list] of Object.entries(verdict)) t.same(list, [], what)
    if (!t.passing()) t.comment(story)
  })
}
