import t from 'tap'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSet, readFiles, readSets } from '../../src/native/index.ts'

const directory = await mkdtemp(join(tmpdir(), 'longshore-files-'))
t.teardown(async () => await rm(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)
await writeFile(path('one'), 'first')
await writeFile(path('large'), 'x'.repeat(10_000))
await writeFile(path('empty'), '')

const descriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length

t.test('many files in one call', async (t) => {
  const { texts, at } = await readFiles([path('one'), path('absent'), path('large'), path('empty'), directory, '/proc/self/stat'], 5000)
  t.same(texts.slice(0, 2), ['first', null])
  t.equal(texts[2], 'x'.repeat(5000), 'within its bound')
  t.same(texts.slice(3, 5), ['', null], 'a directory is no file')
  t.match(texts[5], new RegExp(`^${process.pid} `))
  t.ok(at > 0)
  t.same((await readFiles([path('large')], 100_000)).texts, ['x'.repeat(10_000)])
  t.same((await readFiles([], 10)).texts, [])
})

t.test('sets that stay open', async (t) => {
  const before = await descriptors()
  const set = openSet([path('one'), path('absent'), '/proc/self/status', path('large')], 3)
  t.equal(await descriptors(), before, 'nothing is opened before it is read')
  const other = openSet([path('empty')], 0)
  t.equal((await readSets([set, other], 20_000)).texts.length, 5)
  t.equal(await descriptors(), before + 2, 'those that are kept and there')
  await writeFile(path('one'), 'second')
  const { texts } = await readSets([other, set, set], 20_000)
  t.same([texts[0], texts[1], texts[2], texts[4], texts[5]], ['', 'second', null, 'x'.repeat(10_000), 'second'], 'read anew from the beginning')
  t.match(texts[3], /^Name:/)
  const underWay = readSets([set], 20_000)
  set.close()
  t.equal((await underWay).texts[0], 'second', 'a reading under way is not disturbed')
  set.close()
  t.ok(await descriptors() <= before + 2)
  set.close()
  t.equal(await descriptors(), before, 'closed')
  t.equal((await readSets([set], 10)).texts[0], 'second', 'and opened again')
  set.close()
})

t.test('no descriptors left is no word about a file', async (t) => {
  const limit = Number(/^Max open files\s+(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8'))?.[1])
  if (limit > 200_000) {
    t.pass('there is no end of them here')
    return
  }
  const set = openSet(Array.from({ length: limit + 10 }, () => path('one')), limit + 10)
  await t.rejects(readSets([set], 10), { code: 'EMFILE' })
  set.close()
  t.equal((await readFiles([path('one')], 10)).texts[0], 'second')
})
