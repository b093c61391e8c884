import t from 'tap'
import type { Change, Container } from '../../src/runtime/container.ts'
import { Waits, waitForExit } from '../../src/supervisor/wait.ts'
import { makeApi } from '../support/api.ts'

function fake (): { container: Container, change: (change: Change) => void, listeners: Set<(change: Change) => void> } {
  const listeners = new Set<(change: Change) => void>()
  const container = { onChange: (listener: (change: Change) => void) => { listeners.add(listener); return () => listeners.delete(listener) } } as unknown as Container
  return { container, listeners, change: (change) => { for (const listener of [...listeners]) listener(change) } }
}

t.test('waits are counted, bounded, and leave nothing behind', async (t) => {
  const waits = new Waits(2)
  const { container, change, listeners } = fake()
  const controller = new AbortController()
  const one = waits.watch(container, controller.signal, (what) => what === 'removed')
  const two = waits.watch(container, new AbortController().signal, () => true)
  t.throws(() => waits.watch(container, controller.signal, () => true), { code: 'too_many_requests' })
  change('stopped')
  t.equal(await two.happened, true)
  controller.abort()
  t.equal(await one.happened, false)
  t.equal(waits.size, 0)
  t.equal(listeners.size, 0)
  const gone = waits.watch(container, controller.signal, () => true)
  t.equal(await gone.happened, false, 'aborted before it began')
  const last = waits.watch(container, new AbortController().signal, () => true)
  waits.close()
  await t.rejects(last.happened, { code: 'not_ready', extra: { retryAfter: 1 } })
  t.throws(() => waits.watch(container, controller.signal, () => true), { code: 'not_ready' })
  t.equal(listeners.size, 0)
})

t.test('while containers are taken up none is said not to exist', async (t) => {
  const api = await makeApi()
  t.teardown(async () => await api.close())
  api.supervisor.ready = false
  const abort = new AbortController().signal
  await t.rejects(waitForExit(api.supervisor, { containerId: 'a', abort }), { code: 'not_ready' })
  api.supervisor.ready = true
  await t.rejects(waitForExit(api.supervisor, { containerId: 'a', abort }), { code: 'container_not_found' })
})
