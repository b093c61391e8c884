import t from 'tap'
import { freeze, freezerState, thawAndWait, type ControlFiles } from '../../src/runtime/cgroup-freezer.ts'
import type { ContainerCgroup } from '../../src/runtime/cgroup.ts'

const v1: ContainerCgroup = { version: 1, procs: '/group', freezer: '/group', memory: undefined }
const v2: ContainerCgroup = { ...v1, version: 2 }

/** Control files as a kernel would show them: what is read follows from what was written last and from how often it was looked at. */
function files (read: (path: string, written: string, looks: number) => string): ControlFiles & { written: string[] } {
  const written: string[] = []
  let looks = 0
  return {
    written,
    read: async (path) => read(path, written.at(-1) ?? '', ++looks),
    write: async (path, text) => { written.push(`${path}=${text}`); looks = 0 }
  }
}

t.test('what the files say', async (t) => {
  for (const [text, state] of [['THAWED\n', 'thawed'], ['FREEZING\n', 'freezing'], ['FROZEN\n', 'frozen']] as const) t.equal(await freezerState(v1, files(() => text)), state)
  for (const [events, asked, state] of [['populated 1\nfrozen 1\n', '1\n', 'frozen'], ['populated 1\nfrozen 0\n', '1\n', 'freezing'], ['populated 1\nfrozen 0\n', '0\n', 'thawed']] as const) {
    t.equal(await freezerState(v2, files((path) => (path.endsWith('cgroup.events') ? events : asked))), state)
  }
  t.equal(await freezerState({ ...v1, freezer: undefined }), undefined)
  t.equal(await freezerState({ ...v1, freezer: '/nonexistent' }), undefined, 'the group is gone')
  t.equal(await freeze({ ...v1, freezer: '/nonexistent' }, 1), undefined)
})

t.test('a freeze that takes a while is waited for', async (t) => {
  const slow = files((_path, written, looks) => (!written.endsWith('FROZEN') ? 'THAWED' : looks < 4 ? 'FREEZING' : 'FROZEN'))
  t.equal(await freeze(v1, 60, slow), 'frozen')
  t.same(slow.written, ['/group/freezer.state=FROZEN'])
})

t.test('a freeze that never completes is thawed again', async (t) => {
  const stuck = files((_path, written) => (written.endsWith('FROZEN') ? 'FREEZING' : 'THAWED'))
  t.equal(await freeze(v1, 0.05, stuck), 'freezing')
  t.same(stuck.written, ['/group/freezer.state=FROZEN', '/group/freezer.state=THAWED'])
  const stuck2 = files((path) => (path.endsWith('cgroup.events') ? 'frozen 0' : '1'))
  t.equal(await freeze(v2, 0.05, stuck2), 'freezing')
  t.same(stuck2.written, ['/group/cgroup.freeze=1', '/group/cgroup.freeze=0'])
})

t.test('somebody else may thaw it meanwhile, or hold it frozen', async (t) => {
  t.equal(await freeze(v1, 60, files((_path, _written, looks) => (looks < 3 ? 'FREEZING' : 'THAWED'))), 'thawed')
  t.equal(await thawAndWait(v1, 0.05, files(() => 'FROZEN')), 'frozen')
  t.equal(await thawAndWait(v2, 60, files((path, _written, looks) => (path.endsWith('cgroup.events') ? (looks < 4 ? 'frozen 1' : 'frozen 0') : '0'))), 'thawed')
})
