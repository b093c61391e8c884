/** The groups of a run: directories stand in for them, with none of the kernel's files inside. */
import t from 'tap'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeGroups } from '../../src/runtime/cgroup.ts'

t.test('groups are removed by the name of their run, also those that systemd names', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-groups-'))
  t.teardown(async () => await rm(directory, { recursive: true, force: true }))
  const id = 'box.7f3a'
  const mine = [id, `${id}.scope`, `runc-${id}.scope`]
  const others = ['user.slice', `${id}x`, `x${id}`, `runc-x${id}.scope`, `${id}.scope.d`]
  const directories: Record<string, string> = {}
  for (const name of [...mine, ...others]) {
    await mkdir(join(directory, name, 'inner'), { recursive: true })
    directories[name] = join(directory, name)
  }
  await removeGroups(id, { version: 2, v1: new Map(), v2: directory }, { version: 2, procs: directory, freezer: undefined, memory: undefined, directories })
  t.same((await readdir(directory)).sort(), others.sort())
})
