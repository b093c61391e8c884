import t, { type Test } from 'tap'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { readFiles } from '../../src/native/index.ts'
import type { ContainerCgroup } from '../../src/runtime/cgroup.ts'
import { readingOf, sourcesOf, type Reading, type Texts } from '../../src/runtime/cgroup-stats.ts'
import { Container, recordVersion, type RunRecord } from '../../src/runtime/container.ts'
import { Sampler } from '../../src/runtime/sampler.ts'
import { processOf } from '../../src/runtime/top.ts'

/** A group as a kernel would show it: files by path, in a directory of their own. */
async function tree (t: Test, version: 1 | 2, files: Record<string, string>): Promise<{ directory: string, cgroup: ContainerCgroup }> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-stats-'))
  t.teardown(async () => await rm(directory, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true })
    await writeFile(join(directory, name), text)
  }
  const directories = version === 1 ? Object.fromEntries(['cpuacct', 'cpu', 'memory', 'pids', 'blkio'].map((name) => [name, join(directory, name)])) : { v2: directory }
  return { directory, cgroup: { version, procs: directory, freezer: undefined, memory: directory, directories } }
}

async function read (cgroup: ContainerCgroup): Promise<Reading> {
  const sources = sourcesOf(cgroup, undefined)
  const { texts } = await readFiles(sources.map(({ path }) => path), 65_536)
  return readingOf(cgroup.version, Object.fromEntries(sources.map(({ key }, index) => [key, texts[index] ?? null])))
}

const psi = 'some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=678\n'

t.test('cgroup v1', async (t) => {
  const { cgroup } = await tree(t, 1, {
    'cpuacct/cpuacct.usage': '5000000123\n',
    'cpuacct/cpuacct.usage_all': 'cpu user system\n0 1000000000 500000000\n1 2000000000 1500000000\n',
    'cpu/cpu.stat': 'nr_periods 10\nnr_throttled 4\nthrottled_time 700\nnr_bursts 0\nburst_time 0\n',
    'memory/memory.stat': 'cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit 67108864\nhierarchical_memsw_limit 9223372036854771712\ntotal_cache 8192\ntotal_rss 4096\ntotal_swap 512\ntotal_inactive_file 4096\n',
    'memory/memory.usage_in_bytes': '16384\n',
    'memory/memory.max_usage_in_bytes': '20480\n',
    'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
    'pids/pids.current': '7\n',
    'pids/pids.max': 'max\n',
    'blkio/blkio.throttle.io_service_bytes_recursive': '8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n253:1 Read 100\n253:1 Write 0\nTotal 12388\n',
    'blkio/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\n253:1 Read 5\n253:1 Write 0\nTotal 8\n'
  })
  t.same(await read(cgroup), {
    cpu: { totalNs: 5000000123, userNs: 3e9, systemNs: 2e9, throttling: { periods: 10, throttledPeriods: 4, throttledNs: 700 } },
    memory: { usage: 16384, workingSet: 12288, limit: 67108864, peak: 20480, swap: 512, cache: 8192, rss: 4096 },
    pids: { current: 7, limit: null },
    blockIO: { readBytes: 4196, writeBytes: 8192, readOps: 6, writeOps: 2, devices: [{ device: '8:0', readBytes: 4096, writeBytes: 8192, readOps: 1, writeOps: 2 }, { device: '253:1', readBytes: 100, writeBytes: 0, readOps: 5, writeOps: 0 }] },
    oomKills: 3,
    network: null,
    pressure: { cpu: null, memory: null, io: null }
  })
})

t.test('cgroup v2', async (t) => {
  const { cgroup } = await tree(t, 2, {
    'cpu.stat': 'usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 7\n',
    'memory.stat': 'anon 4096\nfile 8192\ninactive_anon 1\ninactive_file 4096\n',
    'memory.current': '16384\n',
    'memory.peak': '20480\n',
    'memory.max': '67108864\n',
    'memory.swap.current': '512\n',
    'memory.events': 'low 0\nhigh 0\nmax 1\noom 4\noom_kill 3\noom_group_kill 0\n',
    'pids.current': '7\n',
    'pids.max': '9\n',
    'io.stat': '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=9 dios=9\n253:1 \n',
    'cpu.pressure': psi,
    'memory.pressure': psi,
    'io.pressure': psi
  })
  const pressure = { some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalUs: 12345 }, full: { avg10: 0.5, avg60: 0, avg300: 0, totalUs: 678 } }
  t.same(await read(cgroup), {
    cpu: { totalNs: 5e9, userNs: 3e9, systemNs: 2e9, throttling: { periods: 10, throttledPeriods: 4, throttledNs: 7000 } },
    memory: { usage: 16384, workingSet: 12288, limit: 67108864, peak: 20480, swap: 512, cache: 8192, rss: 4096 },
    pids: { current: 7, limit: 9 },
    blockIO: { readBytes: 4096, writeBytes: 8192, readOps: 1, writeOps: 2, devices: [{ device: '8:0', readBytes: 4096, writeBytes: 8192, readOps: 1, writeOps: 2 }, { device: '253:1', readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 }] },
    oomKills: 3,
    network: null,
    pressure: { cpu: pressure, memory: pressure, io: pressure }
  })
})

t.test('what a kernel does not tell is null', async (t) => {
  for (const version of [1, 2] as const) {
    const { cgroup } = await tree(t, version, version === 1 ? { 'memory/memory.stat': 'total_cache x\n' } : { 'memory.stat': 'anon 1' })
    t.match(await read(cgroup), { cpu: { totalNs: null, throttling: null }, memory: { usage: null, workingSet: null, limit: null, swap: null, cache: null }, pids: { current: null, limit: null }, blockIO: null, oomKills: null })
  }
})

t.test('network, loopback apart from the sums', async (t) => {
  const texts: Texts = { network: 'Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:     500       5    0    0    0     0          0         0      500       5    0    0    0     0       0          0\n  eth0:1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n  eth1:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0\n' }
  const { network } = readingOf(1, texts)
  t.match(network, { rxBytes: 1001, rxPackets: 11, rxErrors: 1, rxDropped: 2, txBytes: 2001, txPackets: 21, txErrors: 3, txDropped: 4 })
  t.match(network?.interfaces, [{ name: 'lo', rxBytes: 500 }, { name: 'eth0', txDropped: 4 }, { name: 'eth1' }])
})

function container (cgroup: ContainerCgroup): { container: Container, run: RunRecord } {
  const run: RunRecord = { runId: 'r1', phase: 'running', bootId: 'b', runtimePath: '/runc', process: { args: ['x'] }, pid: null, cgroup, startedAt: null, exit: null, tornDown: false }
  const one = new Container({ version: recordVersion, id: 'one', bundle: '/b', runtime: 'runc', runtimeArgs: [], noPivotRoot: false, labels: {}, process: null, autoRemove: false, stopSignal: 15, stopTimeout: 1, createdAt: '', lastEventId: null, run } as ConstructorParameters<typeof Container>[0], { root: '/r', state: '/s' }, 1)
  return { container: one, run }
}

t.test('one sampler for all who ask', async (t) => {
  const { directory, cgroup } = await tree(t, 2, { 'cpu.stat': 'usage_usec 1000000\n' })
  const { container: one, run } = container(cgroup)
  const sampler = new Sampler()
  const [first] = await sampler.sample([one], 0)
  t.match(first?.stats, { containerId: 'one', runId: 'r1', cpu: { totalNs: 1e9, percent: null, windowSeconds: null } }, 'the first has nothing to compare with')
  t.same(JSON.parse(first?.json ?? ''), first?.stats)
  await writeFile(join(directory, 'cpu.stat'), 'usage_usec 3000000\n')
  t.equal((await sampler.sample([one], 60_000))[0], first, 'one that is young enough is shared')
  const [[a], [b]] = await Promise.all([sampler.sample([one], 0), sampler.sample([one], 0)])
  t.ok(a !== first && a === b, 'so is a reading that is under way')

  // The kernel's clock against ours: wait until the window is long enough to be compared.
  let second = a
  while ((second?.stats.cpu.windowSeconds ?? null) === null) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    second = (await sampler.sample([one], 0))[0]
  }
  const { percent, windowSeconds } = second?.stats.cpu ?? {}
  t.ok(windowSeconds != null && windowSeconds >= 0.09)
  t.ok(Math.abs((percent ?? 0) * (windowSeconds ?? 0) - 200) < 0.02 * 200, `2 s of CPU time in ${windowSeconds} s are ${percent} %`)

  const { container: gone } = container({ ...cgroup, directories: { v2: join(directory, 'gone') } })
  t.match(await sampler.sample([gone, one], 0), [undefined, { stats: { containerId: 'one' } }], 'its group has gone: that is not the fault of the others')
  run.exit = { status: 0, signal: null, oomKilled: false, reason: 'exited', exitedAt: '', outputComplete: true }
  t.same(await sampler.sample([one], 60_000), [undefined], 'nothing is told of one that has ended')
})

t.test('a process as /proc tells it', async (t) => {
  const stat = `4242 (a b) c) S 17 4242 4242 0 -1 4194560 ${'0 '.repeat(4)}12 34 0 0 20 0 3 0 5000 1000000 25 18446744073709551615 1`
  const status = 'Name:\ta b) c\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t6\t5\t5\nNSpid:\t4242\t8\t2\n'
  t.same(processOf(4242, stat, status, 'sh\0-c\0sleep 1\0\0', 1_000_000_000_000_000_000n, 2), {
    pid: 4242, containerPid: 8, parentPid: 17, name: 'a b) c', args: ['sh', '-c', 'sleep 1', ''], state: 'S', uid: 1001, gid: 6, threads: 3, cpuNs: 460_000_000, rss: 102_400, startedAt: '2001-09-09T01:47:30.000000000Z'
  })
  t.match(processOf(1, stat, '', '', 0n, undefined), { containerPid: null, args: [] })
})
