/**
 * node bench/publish.ts: takes what was measured last (build/bench/*.md, *.json and *.svg) into the docs: tables between the marks of
 * docs/benchmarks.md, figures and plots into docs/benchmarks/. What was not measured stays as it is.
 */
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { project } from '../test/support/daemon.ts'

const from = join(project, 'build/bench')
const to = join(project, 'docs/benchmarks')
const page = join(project, 'docs/benchmarks.md')
await mkdir(to, { recursive: true })
let text = await readFile(page, 'utf8')
for (const name of ['peers', 'peers-crun', 'growth']) {
  const table = await readFile(join(from, `${name}.md`), 'utf8').catch(() => undefined)
  if (table === undefined) continue
  const marks = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`] as const
  const [begin, end] = [text.indexOf(marks[0]), text.indexOf(marks[1])]
  if (begin === -1 || end < begin) throw new Error(`${page} has no ${marks[0]} … ${marks[1]}`)
  text = `${text.slice(0, begin)}${marks[0]}\n${table.trim()}\n${text.slice(end)}`
  await copyFile(join(from, `${name}.json`), join(to, `${name}.json`))
  console.log(`${name} is in docs/benchmarks.md`)
}
for (const file of await readdir(from)) if (file.startsWith('growth-') && file.endsWith('.svg')) await copyFile(join(from, file), join(to, file))
await writeFile(page, text)
