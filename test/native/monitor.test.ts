import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { mkdir, rmdir, writeFile } from 'node:fs/promises'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { lockFile, Monitor, releaseMemory, sdNotify, type MonitorEvent } from '../../src/native/index.ts'

const directory = mkdtempSync(join(tmpdir(), 'longshore-monitor-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const stdio = join(directory, 'out')
const descriptors = (): number => readdirSync('/proc/self/fd').length

/** A monitor that keeps what it saw; `until` resolves when enough of a kind has come. */
function watcher (): { monitor: Monitor, batches: MonitorEvent[][], until: (kind: string, count: number) => Promise<MonitorEvent[]> } {
  const batches: MonitorEvent[][] = []
  let look = (): void => {}
  const monitor = new Monitor((events) => { batches.push(events); look() })
  const until = async (kind: string, count: number): Promise<MonitorEvent[]> => await new Promise((resolve) => {
    look = () => {
      const found = batches.flat().filter((event) => event.kind === kind)
      if (found.length >= count) resolve(found)
    }
    look()
  })
  return { monitor, batches, until }
}

const shell = async (monitor: Monitor, script: string): Promise<{ pid: number, process: number }> => await monitor.run({ path: '/bin/sh', args: ['-c', script], env: [], stdio })

t.test('the end of a process is seen with its status', async (t) => {
  const { monitor, until } = watcher()
  const seven = await shell(monitor, 'exit 7')
  t.same(await until('exit', 1), [{ kind: 'exit', token: seven.process, status: 7 << 8, final: true }])
  const slept = await monitor.run({ path: '/bin/sleep', args: ['100'], env: [], stdio })
  t.equal(monitor.size, 1)
  monitor.signal(slept.process, 0)
  monitor.signal(slept.process, 15)
  t.match((await until('exit', 2))[1], { token: slept.process, status: 15 })
  t.equal(monitor.size, 0, 'taken out of the set')
  t.throws(() => monitor.signal(slept.process, 9), { code: 'ESRCH', syscall: 'pidfd_send_signal' })
  t.equal(statSync(stdio).mode & 0o777, 0o600)
  monitor.close()
})

t.test("a stranger's process is watched too, and Node reaps its own", async (t) => {
  const { monitor, until } = watcher()
  const child = spawn('/bin/sleep', ['100'])
  const token = monitor.openProcess(child.pid ?? 0)
  t.throws(() => monitor.signal(token, 999), { code: 'EINVAL' })
  monitor.signal(token, 9)
  const [[, signal]] = await Promise.all([once(child, 'exit'), until('exit', 1)])
  t.ok(signal === 'SIGKILL' || signal === null)
  t.throws(() => monitor.openProcess(2 ** 22 - 1), { code: 'ESRCH', syscall: 'pidfd_open' })
  monitor.close()
})

const [major = 0, minor = 0] = release().split('.').map(Number)
t.test("of another's child the status is told once that one has reaped it", { skip: major > 6 || (major === 6 && minor >= 15) ? false : 'the kernel does not keep it' }, async (t) => {
  const { monitor, until } = watcher()
  const go = join(directory, 'go')
  const parent = spawn('/bin/sh', ['-c', `(while [ ! -e ${go} ]; do :; done; exit 42) & echo $!; read x; wait`])
  const [line] = await once(parent.stdout, 'data') as [Buffer]
  const token = monitor.openProcess(Number(line.toString()))
  await writeFile(go, '')
  t.same(await until('exit', 1), [{ kind: 'exit', token, status: null, final: false }], 'nobody has reaped it')
  parent.stdin.end('\n')
  t.same((await until('exit', 2))[1], { kind: 'exit', token, status: 42 << 8, final: true })
  t.equal(monitor.size, 0)
  monitor.close()
})

t.test('many ends at once come in one call', async (t) => {
  const { monitor, batches, until } = watcher()
  const held = join(directory, 'hold')
  await mkdir(held)
  const started = await Promise.all(Array.from({ length: 200 }, async () => await monitor.run({ path: '/bin/sleep', args: ['100'], env: [], stdio })))
  t.equal(monitor.size, 200)
  const until200 = until('exit', 200)
  // This turn of the loop lasts until all have ended.
  for (const { process } of started) monitor.signal(process, 9)
  for (const { pid } of started) while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z '));
  const seen = await until200
  t.equal(new Set(seen.map(({ token }) => token)).size, 200, 'each once')
  t.equal(batches.length, 1)
  monitor.close()
})

t.test('what a shim said before it ended is heard, also when it has not read all that it was told', async (t) => {
  const { monitor, batches, until } = watcher()
  const runDir = join(directory, 'unread')
  await mkdir(runDir)
  // A wait that does not read: it ends with the packet still in its queue.
  const { pid, process: shim, connection } = await monitor.spawnShim({ path: '/bin/bash', args: ['-c', 'until read -t 0 -u 3; do :; done; echo first >&3; echo second >&3'], runDir, env: [] })
  monitor.send(connection, new Uint8Array(64))
  // This turn of the loop lasts until it has ended: nothing is read before.
  while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z '));
  await until('hangup', 1)
  await until('exit', 1)
  const said = batches.flat().filter((event) => event.token === connection)
  t.same(said.map((event) => event.kind === 'packet' ? Buffer.from(event.packet).toString() : event.kind), ['first\n', 'second\n', 'hangup'])
  monitor.drop(connection)
  monitor.drop(shim)
  t.equal(monitor.size, 0)
  monitor.close()
})

t.test('closed in the middle, and dropped inside the callback', async (t) => {
  const { monitor } = watcher()
  for (let i = 0; i < 20; i++) await shell(monitor, 'exit 0')
  monitor.close()
  monitor.close()
  t.equal(monitor.size, 0)
  t.throws(() => monitor.openProcess(process.pid), { code: 'ECANCELED' })
  t.throws(() => monitor.signal(1, 9), { code: 'ESRCH' })
  t.throws(() => monitor.send(1, new Uint8Array(64)), { code: 'EPIPE' })
  const ended = await new Promise<number>((resolve) => {
    const other = new Monitor((events) => {
      for (const { token } of events) { other.drop(token); other.drop(token) }
      other.close()
      resolve(events.length)
    })
    void shell(other, 'exit 0')
  })
  t.ok(ended >= 1)
})

t.test('failures leave no descriptor open', async (t) => {
  const { monitor } = watcher()
  await t.rejects(monitor.connectShim(directory), { code: 'ENOENT', syscall: 'connect' })
  const before = descriptors()
  for (let i = 0; i < 1000; i++) {
    await monitor.connectShim(directory).catch(() => {})
    await monitor.run({ path: '/no/such/program', args: [], env: [], stdio }).catch(() => {})
    await monitor.spawnShim({ path: '/no/such/shim', args: [], runDir: directory, env: [] }).catch(() => {})
    try { monitor.openProcess(2 ** 22 - 1) } catch {}
    try { monitor.watchOom({ version: 1, dir: directory }) } catch {}
    try { monitor.watchOom({ version: 2, dir: directory }) } catch {}
  }
  // Fewer is fine: what the tests before it used may be closed meanwhile.
  t.ok(descriptors() <= before, `${before} before, ${descriptors()} after`)
  t.notOk(readdirSync(directory).includes('shim.sock'), 'nor a socket')
  monitor.close()
})

t.test('a worker that ends without closing its monitor leaves nothing', async (t) => {
  const path = new URL('../../src/native/index.ts', import.meta.url).href
  const run = async (): Promise<void> => {
    const worker = new Worker(`import(${JSON.stringify(path)}).then(async ({ Monitor }) => {
      const monitor = new Monitor(() => {})
      await monitor.run({ path: '/bin/sh', args: ['-c', 'exit 0'], env: [], stdio: ${JSON.stringify(stdio)} })
      monitor.openProcess(process.pid)
      process.exit(0)
    })`, { eval: true })
    await once(worker, 'exit')
  }
  await run()
  const before = descriptors()
  const threads = readdirSync('/proc/self/task').length
  for (let i = 0; i < 10; i++) await run()
  t.ok(descriptors() <= before, `${before} descriptors before, ${descriptors()} after`)
  t.ok(readdirSync('/proc/self/task').length <= threads)
})

t.test('what the callback throws is an uncaught exception', async (t) => {
  const path = new URL('../../src/native/index.ts', import.meta.url).href
  const worker = new Worker(`import(${JSON.stringify(path)}).then(async ({ Monitor }) => {
    const monitor = new Monitor(() => { throw new Error('thrown on purpose') })
    await monitor.run({ path: '/bin/sh', args: ['-c', 'exit 0'], env: [], stdio: ${JSON.stringify(stdio)} })
  })`, { eval: true })
  t.match(await once(worker, 'error'), [{ message: 'thrown on purpose' }])
})

const memory = '/sys/fs/cgroup/memory'
t.test('an OOM kill is told with its count', { skip: existsSync(join(memory, 'memory.oom_control')) ? false : 'no memory controller of cgroup v1 here' }, async (t) => {
  const group = join(memory, `longshore-test-${process.pid}`)
  await mkdir(group)
  await writeFile(join(group, 'memory.limit_in_bytes'), String(16 * 1024 * 1024))
  const { monitor, until } = watcher()
  const token = monitor.watchOom({ version: 1, dir: group })
  const { process: victim } = await shell(monitor, `echo $$ > ${group}/cgroup.procs; exec tail /dev/zero`)
  t.match((await until('oom', 1))[0], { token, count: 1 })
  t.match((await until('exit', 1))[0], { token: victim, status: 9 })
  await rmdir(group)
  monitor.drop(token)
  monitor.close()
})

/** Where the most of the program's text lies. */
const [text = { begin: 0, end: 0 }] = readFileSync('/proc/self/maps', 'utf8').split('\n').map((line) => line.split(/ +/))
  .filter(([, flags, , , , path]) => flags === 'r-xp' && path === process.execPath)
  .map(([range = '']) => {
    const [begin = 0, end = 0] = range.split('-').map((number) => parseInt(number, 16))
    return { begin, end }
  })
  .sort((one, other) => (other.end - other.begin) - (one.end - one.begin))

t.test("memory is given back, but for what the program's file does not have", { skip: text.begin === 0 ? 'the program is not mapped from its file here' : false }, async (t) => {
  const page = 4096
  const { begin, end } = text
  const memory = openSync('/proc/self/mem', 'r+')
  const pagemap = openSync('/proc/self/pagemap', 'r')
  t.teardown(() => { closeSync(memory); closeSync(pagemap) })
  /** Of /proc/PID/pagemap, by its bits 63 and 61: whose each page of the program's text is. */
  const pages = (): string[] => {
    const entries = Buffer.alloc((end - begin) / page * 8)
    readSync(pagemap, entries, 0, entries.length, begin / page * 8)
    return Array.from({ length: entries.length / 8 }, (_, n) => {
      const high = entries.readUInt32LE(n * 8 + 4)
      return (high & 2 ** 31) === 0 ? 'away' : (high & 2 ** 29) !== 0 ? "the file's" : 'its own'
    })
  }
  const filed = (): number => pages().filter((whose) => whose === "the file's").length
  // As a debugger does that sets a breakpoint, but with the byte that is there.
  const byte = Buffer.alloc(1)
  readSync(memory, byte, 0, 1, begin)
  writeSync(memory, byte, 0, 1, begin)
  const before = filed()
  t.equal(pages()[0], 'its own')
  releaseMemory()
  const after = filed()
  t.ok(after < before / 2, `${before} pages before, ${after} after`)
  t.equal(pages()[0], 'its own')
  const native = new URL('../../src/native/index.ts', import.meta.url).href
  const moved = spawn(process.execPath, ['--use-largepages=on', '--input-type=module', '-e', `(await import('${native}')).releaseMemory(); console.log('goes on')`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [[said], [status]] = await Promise.all([once(moved.stdout, 'data'), once(moved, 'exit')]) as [[Buffer], [number]]
  t.match({ said: said.toString(), status }, { said: 'goes on\n', status: 0 }, 'also when its text was moved to large pages')
})

t.test('one lock for each file', async (t) => {
  const path = join(directory, 'lock')
  const unlock = lockFile(path)
  t.throws(() => lockFile(path), { code: 'EWOULDBLOCK' })
  unlock()
  lockFile(path)()
  t.throws(() => lockFile('/no/such/directory/lock'), { code: 'ENOENT' })
})

t.test('the service manager is told', async (t) => {
  delete process.env.NOTIFY_SOCKET
  sdNotify('READY=1')
  process.env.NOTIFY_SOCKET = join(directory, 'none')
  t.throws(() => sdNotify('READY=1'), { code: 'ENOENT' })
  delete process.env.NOTIFY_SOCKET
})
