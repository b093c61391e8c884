/**
 * Runs test files, two at a time, each as a process of its own with a limit, all of them within one limit for the whole.
 * A file that fails is run once more, by itself, when all others are through; both outcomes are shown, and the second one counts.
 *
 *   node scripts/run-tests.ts OUT PART=FILE,FILE… PART=FILE,FILE…
 *
 * Writes OUT/PART.tap, a TAP document with a subtest for each file, and OUT/PART.counts, `PASSED FAILED SKIPPED`.
 * LONGSHORE_TEST_JOBS: files at a time. LONGSHORE_TEST_FILE_LIMIT, LONGSHORE_TEST_LIMIT: seconds for a file and for all.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

type Counts = { pass: number, fail: number, skip: number }
type Outcome = Counts & { ok: boolean, seconds: number, tap: string, errors: string, how: string }
type File = { part: string, path: string, outcomes: Outcome[] }

const jobs = Number(process.env.LONGSHORE_TEST_JOBS ?? 2)
const fileLimit = Number(process.env.LONGSHORE_TEST_FILE_LIMIT ?? 480)
const wholeLimit = Number(process.env.LONGSHORE_TEST_LIMIT ?? 3000)
/** seconds that a file which was told to end has for its teardown */
const grace = 10
/** seconds from which on a file is named as a slow one */
const slow = 10
/** lines that are shown of a file that failed */
const shown = 300

const [out = 'build/test', ...parts] = process.argv.slice(2)
const files: File[] = parts.flatMap((argument) => {
  const [part = '', paths = ''] = argument.split('=')
  return paths.split(',').filter((path) => path !== '').map((path) => ({ part, path, outcomes: [] }))
})
const began = performance.now()
const elapsed = (since = began): number => (performance.now() - since) / 1000
const running = new Map<ChildProcess, File>()

/** Ends the process itself, so that it can end what it started; then everything in its group. */
function end (child: ChildProcess): void {
  child.kill('SIGTERM')
  setTimeout(() => {
    try { process.kill(-(child.pid ?? 0), 'SIGKILL') } catch { /* it has ended, with all its children */ }
  }, grace * 1000).unref()
}

async function run (file: File): Promise<Outcome> {
  const since = performance.now()
  const limit = Math.min(fileLimit, wholeLimit - elapsed())
  if (limit <= 0) return { ok: false, pass: 0, fail: 1, skip: 0, seconds: 0, tap: '', errors: '', how: `never begun: all ${wholeLimit} s were used up` }
  const child = spawn(process.execPath, [file.path], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, TAP_TIMEOUT: String(Math.max(1, limit - 15)) } })
  running.set(child, file)
  let tap = ''
  let errors = ''
  let late = false
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => { tap += chunk })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => { errors += chunk })
  const timer = setTimeout(() => { late = true; end(child) }, limit * 1000)
  const how = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message))
    // Not `close`: something that outlives the test may hold its output open.
    child.on('exit', (code, signal) => setTimeout(() => resolve(signal ?? `exit ${code ?? ''}`), 100))
  })
  clearTimeout(timer)
  running.delete(child)
  child.stdout.destroy()
  child.stderr.destroy()
  const counts = countsOf(tap)
  const ok = how === 'exit 0' && !late && counts !== undefined && counts.fail === 0
  const { pass, fail, skip } = counts ?? { pass: 0, fail: 0, skip: 0 }
  // A file that crashes or never ends is no assertion that failed, but it is a failure.
  return { ok, pass, fail: ok ? 0 : Math.max(fail, 1), skip, seconds: elapsed(since), tap, errors, how: late ? `hung: ended after ${Math.round(elapsed(since))} s` : how }
}

/** tap's own sum over all assertions, on the last lines; none where the file did not come to its end. */
function countsOf (tap: string): Counts | undefined {
  const line = tap.match(/^# \{ total: .*\}$/gm)?.at(-1)
  if (line === undefined) return undefined
  const number = (name: string): number => Number(new RegExp(`[ ,]${name}: (\\d+)`).exec(line)?.[1] ?? 0)
  return { pass: number('pass'), fail: number('fail'), skip: number('skip') + number('todo') }
}

/** Of the TAP of a file that failed: what failed, and what was said meanwhile. */
function brief ({ tap, errors, how }: Outcome): string {
  const lines = tap.split('\n').filter((line) => !/^ *(ok \d+|# Subtest:|# time=|1\.\.\d|\}$)|^ *$|^(TAP version|# )/.test(line))
  return [...lines.slice(0, shown), ...errors.split('\n').slice(-50).filter((line) => line !== ''), `(${how})`].map((line) => `    ${line}`).join('\n')
}

function tell (file: File, outcome: Outcome): void {
  console.log(`${outcome.ok ? '  ok ' : 'FAIL '} ${file.path}  ${outcome.seconds.toFixed(1)} s`)
  if (!outcome.ok) console.log(brief(outcome))
}

const queue = [...files]
await Promise.all(Array.from({ length: jobs }, async () => {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const outcome = await run(file)
    file.outcomes.push(outcome)
    tell(file, outcome)
    if (elapsed() > wholeLimit) for (const { path } of running.values()) console.log(`still running after ${wholeLimit} s: ${path}`)
  }
}))
const again = files.filter(({ outcomes }) => outcomes[0]?.ok === false)
for (const file of again) {
  console.log(`once more, by itself: ${file.path}`)
  const outcome = await run(file)
  file.outcomes.push(outcome)
  tell(file, outcome)
}

await mkdir(out, { recursive: true })
for (const part of new Set(files.map(({ part }) => part))) {
  const counts = { pass: 0, fail: 0, skip: 0 }
  let document = 'TAP version 14\n'
  let number = 0
  for (const file of files.filter((one) => one.part === part)) {
    for (const [index, outcome] of file.outcomes.entries()) {
      const last = index === file.outcomes.length - 1
      if (last) for (const name of ['pass', 'fail', 'skip'] as const) counts[name] += outcome[name]
      const body = outcome.tap.split('\n').filter((line) => line !== 'TAP version 14').map((line) => (line === '' ? '' : `    ${line}`)).join('\n')
      document += `# Subtest: ${file.path}\n${body}\n${outcome.ok ? '' : 'not '}ok ${++number} - ${file.path} # ${last ? '' : 'TODO it was run once more; '}time=${outcome.seconds.toFixed(3)}s\n`
    }
  }
  await writeFile(join(out, `${part}.tap`), `${document}1..${number}\n# ${JSON.stringify(counts)}\n`)
  await writeFile(join(out, `${part}.counts`), `${counts.pass} ${counts.fail} ${counts.skip}\n`)
}

const slowest = files.map(({ path, outcomes }) => ({ path, seconds: Math.max(...outcomes.map(({ seconds }) => seconds)) })).filter(({ seconds }) => seconds > slow)
if (slowest.length > 0) console.log(`\nover ${slow} s:`)
for (const { path, seconds } of slowest.sort((one, other) => other.seconds - one.seconds)) console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${path}`)
for (const { path, outcomes } of again) console.log(`retried  ${path}: first ${outcomes[0]?.how ?? ''} with ${outcomes[0]?.fail ?? 0} failed, then ${outcomes[1]?.ok === true ? 'passed: it is flaky' : `failed again (${outcomes[1]?.how ?? ''})`}`)
console.log(`test files took ${elapsed().toFixed(0)} s`)
process.exit(files.every(({ outcomes }) => outcomes.at(-1)?.ok === true) ? 0 : 1)
