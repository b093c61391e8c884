/** An update that nobody can be told of. */
import t from 'tap'
import type { Container } from '../../src/runtime/container.ts'
import type { Supervisor } from '../../src/supervisor/supervisor.ts'
import { UpdateTask } from '../../src/supervisor/update.ts'

t.test('it is undone: whoever asked is told that it failed, so no later daemon may do it after all', async (t) => {
  const saved: unknown[] = []
  // any: as much of a container as an update of one that does not run looks at
  const container: any = { id: 'one', status: 'stopped', labels: { app: 'web' }, resources: {}, run: null, pending: undefined, save: async () => { saved.push(container.pending) }, view: () => ({}) }
  const supervisor: any = {
    find: (): Container => container,
    options: { journal: { head: 1, positionId: () => 'e:1' } },
    save: () => { saved.push(container.pending) },
    publish: async () => { throw new Error('the journal cannot be written') }
  }
  const update = async (): Promise<unknown> => await new UpdateTask({ containerId: 'one', change: { labels: { tier: 'gold' } } }).execute(supervisor as Supervisor)
  await t.rejects(update(), /cannot be written/)
  t.equal(container.pending, undefined)
  t.match(saved, [{ labels: { app: 'web', tier: 'gold' } }, undefined], 'intended, and given up, on disk')
  t.same(container.labels, { app: 'web' })

  supervisor.publish = async (_container: Container, _type: string, { apply }: { apply: () => void }) => { apply() }
  await update()
  t.same(container.labels, { app: 'web', tier: 'gold' })
})
