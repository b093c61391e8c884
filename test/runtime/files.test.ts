import t from 'tap'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSteps, readIfThere, removeTree, writeWhole } from '../../src/runtime/files.ts'

const directory = await mkdtemp(join(tmpdir(), 'longshore-files-'))
t.teardown(async () => await rm(directory, { recursive: true, force: true }))
const at = (...parts: string[]): string => join(directory, ...parts)
const failure = async (work: Promise<unknown>): Promise<Record<string, unknown>> => await work.then(() => ({}), (error: unknown) => ({ ...error as object, isError: error instanceof Error }))
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

t.test('steps are done in order, in one errand, each with its result', async (t) => {
  const text = 'é\u0000\n'.repeat(10_000)
  t.same(await fileSteps([
    { op: 'exists', path: at('a') },
    { op: 'mkdir', path: at('a/b/c') },
    { op: 'mkdir', path: at('a/b/c') },
    { op: 'write', path: at('a/b/c/file'), text },
    { op: 'symlink', path: at('a/link'), target: 'b/c' },
    { op: 'symlink', path: at('a/link'), target: 'b' },
    { op: 'read', path: at('a/link/c/file'), limit: 1e6 },
    { op: 'read', path: at('a/none'), limit: 1 },
    { op: 'exists', path: at('a/b') },
    { op: 'executable', paths: [at('a/none'), at('a/b/c/file'), '/bin/sh', '/bin/ls'] },
    { op: 'executable', paths: [at('a/none')] }
  ]), [false, undefined, undefined, undefined, undefined, undefined, text, undefined, true, '/bin/sh', undefined])
  t.equal(await modeOf(at('a/b')), 0o700)
  t.equal(await modeOf(at('a/b/c/file')), 0o600)
  t.same(await readdir(at('a/b/c')), ['file'], 'no temporary name is left')
  t.same(await fileSteps([]), [])
})

t.test('the first that fails ends them, and says which and why', async (t) => {
  await writeFile(at('plain'), 'x')
  const error = await failure(fileSteps([
    { op: 'write', path: at('one'), text: '1' },
    { op: 'mkdir', path: at('plain/below') },
    { op: 'write', path: at('two'), text: '2' }
  ]))
  t.match(error, { isError: true, code: 'ENOTDIR', syscall: 'mkdir', path: at('plain/below'), step: 1 })
  t.equal(await readFile(at('one'), 'utf8'), '1', 'what was done before stays')
  t.equal(await readIfThere(at('two')), undefined)
  t.match(await failure(fileSteps([{ op: 'mkdir', path: at('plain') }])), { code: 'EEXIST' })
  t.match(await failure(fileSteps([{ op: 'read', path: at(), limit: 1 }])), { code: 'EISDIR' })
  t.match(await failure(fileSteps([{ op: 'read', path: at('one'), limit: 0 }])), { code: 'EFBIG' })
  spawnSync('mkfifo', [at('fifo')])
  t.match(await failure(fileSteps([{ op: 'read', path: at('fifo'), limit: 1 }])), { code: 'EINVAL' }, 'a FIFO holds nobody up')
  t.match(await failure(writeWhole(at('none/file'), 'x')), { code: 'ENOENT' })
  await mkdir(at('taken'))
  await writeFile(at('taken/inside'), '')
  t.match(await failure(writeWhole(at('taken'), 'x')), { code: 'EISDIR', syscall: 'rename' })
  t.same((await readdir(at())).filter((name) => name.endsWith('.tmp')), [])
})

t.test('a file that something is mounted on is removed too, as a killed runtime may leave it', async (t) => {
  await mkdir(at('state/below'), { recursive: true })
  await writeFile(at('program'), 'itself')
  await writeFile(at('state/below/runc.x'), '')
  t.equal(spawnSync('mount', ['--bind', at('program'), at('state/below/runc.x')]).status, 0)
  await removeTree(at('state'))
  t.notOk((await readdir(directory)).includes('state'))
  t.equal(await readFile(at('program'), 'utf8'), 'itself', 'what was mounted is as it was')
})

t.test('a tree is removed with all that is below, and nothing beside it', async (t) => {
  await mkdir(at('tree/deep/deeper'), { recursive: true })
  await mkdir(at('kept'))
  await writeFile(at('kept/file'), '')
  for (let i = 0; i < 300; i++) await writeFile(at(`tree/deep/${i}`), '')
  await symlink(at('kept'), at('tree/deep/link'))
  await removeTree(at('tree'))
  await removeTree(at('tree'))
  t.same(await readdir(at('kept')), ['file'], 'a link is not followed')
  t.equal(await readIfThere(at('tree')), undefined)
})

t.test('a name is gathered through all directories below', async (t) => {
  await mkdir(at('group/x/y'), { recursive: true })
  await writeFile(at('group/procs'), '1\n2\n')
  await writeFile(at('group/x/y/procs'), '3\n')
  await symlink(at('group'), at('group/x/loop'))
  t.same(await fileSteps([{ op: 'gather', path: at('group'), name: 'procs' }, { op: 'gather', path: at('nowhere'), name: 'procs' }]), ['1\n2\n3\n', undefined])
  t.match(await fileSteps([{ op: 'read', path: '/proc/self/cgroup', limit: 1e6 }]), [/:/], 'a file of the kernel that tells no size')
})
