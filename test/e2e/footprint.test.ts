import { readFile, readdir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { Daemon } from '../support/daemon.ts'

/** KiB, of smaps_rollup (proc(5)) */
async function memory (pid: number): Promise<{ pss: number, anonymous: number, files: number }> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return { pss: field('Pss'), anonymous: field('Pss_Anon'), files: field('Rss') - field('Anonymous') }
}

/** How often the threads of a process have begun to wait (proc(5), status). */
async function wakeups (pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`)
  const texts = await Promise.all(threads.map(async (thread) => await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8').catch(() => '')))
  return texts.reduce((sum, text) => sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0)
}

/** The first that is low enough, or the last one before the time is over. */
async function settled<T> (look: () => Promise<T>, low: (value: T) => boolean): Promise<T> {
  const until = Date.now() + 30_000
  for (;;) {
    const value = await look()
    if (low(value) || Date.now() > until) return value
    await delay(200)
  }
}

t.test('a daemon at rest gives back what only its start needed', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bounds = { anonymous: 48 * 1024, files: 24 * 1024 }
  const { anonymous, files } = await settled(async () => await memory(daemon.pid), (now) => now.anonymous <= bounds.anonymous && now.files <= bounds.files)
  t.ok(anonymous <= bounds.anonymous, `${anonymous} KiB of its own`)
  t.ok(files <= bounds.files, `${files} KiB of files`)
  t.equal((await daemon.get('/version')).status, 200, 'and answers as before')
})

t.test('a shim at rest, with 20 running', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const bundle = await daemon.bundle('sleep', ['/bin/sleep', '1000'])
  for (let n = 0; n < 20; n++) await daemon.post('/containers', { id: `many-${n}`, bundle })
  const shims = await daemon.shims()
  t.equal(shims.length, 20)
  const mean = async (): Promise<number> => (await Promise.all(shims.map(async (pid) => (await memory(pid)).pss))).reduce((sum, one) => sum + one) / shims.length
  const kilobytes = await settled(mean, (now) => now <= 36)
  t.ok(kilobytes > 0 && kilobytes <= 36, `${kilobytes.toFixed(1)} KiB of PSS each`)
  const all = [daemon.pid, ...shims]
  const second = async (): Promise<number[]> => {
    const before = await Promise.all(all.map(wakeups))
    await delay(1000)
    return (await Promise.all(all.map(wakeups))).map((count, at) => count - (before[at] ?? 0))
  }
  // One look at all containers may come in between, and what V8 does by itself.
  const [own = 0, ...theirs] = await settled(second, ([first = 0, ...rest]) => first <= 20 && rest.every((count) => count === 0))
  t.ok(own <= 20, `${own} wake-ups of the daemon in a second`)
  t.same(theirs.filter((count) => count > 0), [], 'and none of a shim')
})
