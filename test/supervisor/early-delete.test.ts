import t from 'tap'
import type { Container } from '../../src/runtime/container.ts'
import type { Shim } from '../../src/runtime/shim.ts'
import { deletableAtOnce } from '../../src/supervisor/teardown.ts'

/** One whose run may be deleted at once, but for what is changed. */
function container (change: { runtimePath?: string, ownPids?: boolean, status?: string, oomKills?: number | null, exit?: object | undefined, gone?: boolean } = {}): Container {
  const { runtimePath = '/usr/sbin/runc', ownPids = true, status = 'running', oomKills = 0, gone = false } = change
  const exit = 'exit' in change ? change.exit : {}
  return { id: 'one', run: { runtimePath }, shim: { exit, gone } as unknown as Shim, init: { ended: { oomKills } }, status, ownPids } as unknown as Container
}

t.test('the delete follows at once on the telling of the exit only where nothing has to come before it', async (t) => {
  t.ok(deletableAtOnce(container()))
  t.ok(deletableAtOnce(container({ runtimePath: '/opt/crun' })))
  for (const [why, change] of Object.entries({
    'another runtime': { runtimePath: '/usr/bin/other' },
    'processes can outlive init': { ownPids: false },
    'not told of as running': { status: 'created' },
    'OOM kills are not counted': { oomKills: null },
    'init was not reaped by the shim': { exit: undefined },
    'no shim': { gone: true }
  })) t.notOk(deletableAtOnce(container(change)), why)
})
