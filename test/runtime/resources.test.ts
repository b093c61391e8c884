import t from 'tap'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { differs, inheritedSets, readKnobs, restoreKnobs } from '../../src/runtime/cgroup-knobs.ts'
import type { ContainerCgroup } from '../../src/runtime/cgroup.ts'
import { checkResources, composePatches, knownResources, parseList, patchResources, updateOf } from '../../src/runtime/resources.ts'

t.test('merge patches of resources', async (t) => {
  t.same(patchResources({ memory: { limit: 1, swap: 2 }, pids: { limit: 3 } }, { memory: { swap: null, reservation: 4 }, pids: null }), { memory: { limit: 1, reservation: 4 } })
  t.same(patchResources({ devices: [1], memory: { limit: 1, kernel: 5 } }, { memory: { limit: null } }), { devices: [1], memory: { kernel: 5 } }, 'what it does not know of stays')
  for (const [first, second] of [
    [{ memory: { limit: 5 } }, { memory: { swap: 6 } }],
    [{ memory: { limit: 5 } }, { memory: null }],
    [{ memory: null }, { memory: { limit: 7 } }],
    [{ cpu: { cpus: null } }, { cpu: { shares: 9 } }]
  ] as const) {
    const base = { memory: { limit: 1, swap: 2 }, cpu: { cpus: '0', shares: 8 } }
    t.same(patchResources(base, composePatches(first, second)), patchResources(patchResources(base, first), second), JSON.stringify([first, second]))
  }
  t.same(knownResources({ memory: { limit: 1, kernel: 2 }, cpu: { cpus: '', shares: 'many' }, pids: null, devices: [] }), { memory: { limit: 1 } })
  t.same(knownResources(undefined), {})
  t.same([...parseList('0-2,7')], [0, 1, 2, 7])
})

t.test('what is asked of the runtime', async (t) => {
  const inherited = { cpus: '0-3', mems: '0' }
  t.same(updateOf({ memory: { limit: 5 } }, { memory: { limit: 4, swap: 8 } }, { memory: { limit: 5, swap: 8 } }, inherited), { memory: { limit: 5, swap: 8 } }, 'memory and swap go together')
  t.same(updateOf({ memory: null }, { memory: { limit: 4 } }, {}, inherited), { memory: { limit: -1 } }, 'what was never set is left alone')
  t.same(updateOf({ cpu: { quota: 5000 } }, {}, { cpu: { quota: 5000 } }, inherited), { cpu: { quota: 5000, period: 100_000 } })
  t.same(updateOf({ cpu: { shares: null, cpus: null } }, { cpu: { shares: 2, cpus: '1' } }, {}, inherited), { cpu: { shares: 1024, cpus: '0-3' } })
  t.same(updateOf({ pids: { limit: null } }, {}, {}, inherited), {})
})

t.test('what cannot be is refused before anybody is asked', async (t) => {
  for (const [resources, field] of [
    [{ memory: { limit: 0 } }, 'memory.limit'], [{ memory: { swap: 5 } }, 'memory.swap'], [{ memory: { limit: 6, swap: 5 } }, 'memory.swap'],
    [{ memory: { limit: 6, reservation: 7 } }, 'memory.reservation'], [{ cpu: { quota: 10 } }, 'cpu.quota'], [{ cpu: { cpus: '0-4095' } }, 'cpu.cpus'], [{ cpu: { mems: '77' } }, 'cpu.mems']
  ] as const) await t.rejects(checkResources(resources), { code: 'invalid_resources', extra: { errors: [{ field: `resources.${field}` }] } }, JSON.stringify(resources))
  await checkResources({ memory: { limit: -1, swap: -1 }, pids: { limit: -1 }, cpu: { quota: -1, cpus: '0', mems: '0' } })
})

t.test("the kernel's files, v1 and v2", async (t) => {
  for (const [version, files, asked, wrong] of [
    [1, { 'memory.limit_in_bytes': '8192', 'memory.soft_limit_in_bytes': '9223372036854771712', 'memory.memsw.limit_in_bytes': '16384', 'cpu.shares': '512', 'cpu.cfs_quota_us': '-1', 'cpu.cfs_period_us': '100000', 'cpuset.cpus': '0-1', 'cpuset.mems': '0', 'pids.max': 'max' },
      { memory: { limit: 8200, reservation: -1, swap: 16384 }, cpu: { shares: 512, quota: -1, period: 100_000, cpus: '0,1' }, pids: { limit: -1 } }, 'memory.limit_in_bytes'],
    [2, { 'memory.max': '8192', 'memory.low': '0', 'memory.swap.max': 'max', 'cpu.weight': '20', 'cpu.max': 'max 100000', 'cpuset.cpus': '0-1', 'pids.max': '70', 'io.weight': 'default 100\n8:0 50' },
      { memory: { limit: 8192 }, cpu: { quota: -1, period: 100_000, cpus: '0-1' }, pids: { limit: 70 } }, 'memory.max']
  ] as const) {
    const directory = await mkdtemp(join(tmpdir(), 'longshore-knobs-'))
    t.teardown(async () => await rm(directory, { recursive: true, force: true }))
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), `${text}\n`)
    const directories = version === 1 ? Object.fromEntries(['memory', 'cpu', 'cpuset', 'pids', 'blkio'].map((name) => [name, directory])) : { v2: directory }
    const cgroup: ContainerCgroup = { version, procs: directory, freezer: undefined, memory: directory, directories }
    const before = await readKnobs(cgroup)
    t.equal(before.size, Object.keys(files).length, 'those that are there')
    t.equal(differs(cgroup, before, asked), undefined)
    t.match(differs(cgroup, before, { pids: { limit: 71 } }), /pids.limit was to be 71/)
    t.match(differs({ ...cgroup, directories: {} }, before, asked), /no such limit/)
    await writeFile(join(directory, wrong), '4096\n')
    await writeFile(join(directory, 'pids.max'), '5\n')
    t.match(differs(cgroup, await readKnobs(cgroup), asked), /memory.limit was to be/)
    t.same(await restoreKnobs(cgroup, before), [])
    t.same(await readKnobs(cgroup), before, 'put back')
    t.equal((await readFile(join(directory, 'pids.max'), 'utf8')).trim(), files['pids.max'])
    t.same(await inheritedSets({ ...cgroup, directories: version === 1 ? { cpuset: join(directory, 'sub') } : { v2: join(directory, 'sub') } }), { cpus: '0-1', mems: version === 1 ? '0' : '' })
  }
})
