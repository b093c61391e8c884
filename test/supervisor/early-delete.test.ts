import t from 'tap'
import type { Container } from '../../src/runtime/container.ts'
import type { Shim } from '../../src/runtime/shim.ts'
import type { Supervisor } from '../../src/supervisor/supervisor.ts'
import type { Task } from '../../src/supervisor/task.ts'
import { beginDelete } from '../../src/supervisor/teardown.ts'

const task = {} as Task<unknown>
let calls = 0
const supervisor = {
  log: { warn: () => {} },
  runtimeCall: async (_task: unknown, _step: string, call: (got: () => void) => Promise<unknown>) => await call(() => {})
} as unknown as Supervisor

/** One whose delete may begin early, but for what is changed. */
function container (change: { runtimePath?: string, ownPids?: boolean, status?: string, oomKills?: number | null, exit?: object | undefined, gone?: boolean, fails?: boolean } = {}): Container {
  const { runtimePath = '/usr/sbin/runc', ownPids = true, status = 'running', oomKills = 0, gone = false, fails = false } = change
  const exit = 'exit' in change ? change.exit : {}
  const remove = async (force: boolean): Promise<object> => {
    calls++
    t.equal(force, false, 'a runtime refuses what still lives')
    if (fails) throw new Error('no shim')
    return { waitStatus: 0, error: 0, pid: 0 }
  }
  return { id: 'one', run: { runtimePath }, shim: { exit, gone, delete: remove } as unknown as Shim, init: { ended: { oomKills } }, status, ownPids, runtimeDir: '/nowhere/one' } as unknown as Container
}

t.test('the delete begins beside the telling of the exit only where nothing has to come before it', async (t) => {
  t.equal(await beginDelete(supervisor, task, container()), true)
  t.equal(await beginDelete(supervisor, task, container({ runtimePath: '/opt/crun' })), true)
  t.equal(await beginDelete(supervisor, task, container({ fails: true })), false, 'a failure is not thrown at whoever tells')
  t.equal(calls, 3)
  for (const [why, change] of Object.entries({
    'another runtime': { runtimePath: '/usr/bin/other' },
    'processes can outlive init': { ownPids: false },
    'not told of as running': { status: 'created' },
    'OOM kills are not counted': { oomKills: null },
    'init was not reaped by the shim': { exit: undefined },
    'no shim': { gone: true }
  })) t.equal(beginDelete(supervisor, task, container(change)), undefined, why)
  t.equal(calls, 3)
})
