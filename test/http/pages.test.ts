/** Whoever goes through a list page by page sees each entry once, in whatever order they came to be known. */
import t from 'tap'
import type { Container } from '../../src/runtime/container.ts'
import { makeApi } from '../support/api.ts'

const api = await makeApi()
t.teardown(async () => await api.close())

/** Known one after another; their creation had begun in another order. */
const known = [['slow', 2], ['quick', 1], ['b', 3], ['last', 4], ['a', 3]] as const
for (const [id, at] of known) {
  const processes = ['init', 'z', 'a', 'k', 'b'].map((name) => ({ id: name }))
  api.supervisor.containers.set(id, { id, createdAt: `2026-01-01T00:00:00.00000000${at}Z`, labels: {}, status: 'running', shownStatus: 'running', run: { cgroup: { version: 2, procs: '/nowhere', directories: {} }, exit: null, tornDown: false }, view: () => ({ id, processes }), flush: async () => {} } as unknown as Container)
}

/** What each page of one ended with, by its cursor where it has no entry of its own. */
async function pages (path: string): Promise<{ ids: string[], cursors: string[] }> {
  const ids: string[] = []
  const cursors: string[] = []
  for (let cursor = ''; ;) {
    const { items, nextCursor } = (await api.app.inject(`${path}?limit=1${cursor}`)).json<{ items: { id: string }[], nextCursor: string | null }>()
    ids.push(...items.map(({ id }) => id))
    if (nextCursor === null || cursors.length > 10) return { ids, cursors }
    cursors.push(Buffer.from(nextCursor, 'base64url').toString())
    cursor = `&cursor=${nextCursor}`
  }
}

t.test('containers, in the order of their creation', async (t) => {
  t.same((await pages('/containers')).ids, ['quick', 'slow', 'a', 'b', 'last'])
})

t.test('the processes of one, init first', async (t) => {
  t.same((await pages('/containers/slow/processes')).ids, ['init', 'a', 'b', 'k', 'z'])
})

t.test('statistics, also of what has just ended', async (t) => {
  const { cursors } = await pages('/stats')
  t.same(cursors.map((key) => key.split(' ')[1]), ['quick', 'slow', 'a', 'b'])
})
