/** Events on their way into the database, and who waits for them. */
import { join } from 'node:path'
import t from 'tap'
import { Ahead } from '../../src/events/ahead.ts'
import { rowOf } from '../../src/events/journal-row.ts'
import { Lane } from '../../src/events/lane.ts'
import { Once } from '../../src/events/once.ts'
import { event, temporary } from './support.ts'

t.setTimeout(60_000)

t.test('who waits for what was told until now does not wait for what comes later', async (t) => {
  const { lane } = Lane.open(join(await temporary(t), 'lane'))
  let next = 1
  let stores = 0
  const ahead: Ahead = new Ahead({
    lane,
    epoch: () => 'e',
    store: async () => {
      stores++
      // There is always one more, until long after.
      if (stores < 50) ahead.take('e', next++, [rowOf(event())])
      await new Promise((resolve) => setImmediate(resolve))
    },
    stored: () => {},
    failed: async () => true
  })
  ahead.take('e', next++, [rowOf(event())])
  ahead.follow()
  await ahead.settle()
  t.equal(stores, 1)
  await ahead.flush()
  t.equal(ahead.size, 0)
})

t.test('what was noted of a run while it was asked for is not forgotten', async (t) => {
  const once = new Once()
  once.note([rowOf(event({ type: 'StateCreate', runId: 'r' }))])
  const exit = rowOf(event({ type: 'StateExit', runId: 'r', processId: 'init' }))
  once.note([exit])
  once.learn('r', [{ type: 'StateCreate' }])
  t.equal(once.allows([exit]), false)
})
