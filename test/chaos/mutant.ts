/** A copy of the daemon with one mistake put into it, and built. */
import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { project } from '../support/daemon.ts'

export type Change = { file: string, from: string, to: string }

/** What becomes of each file. Throws when a place that is to be changed is not in the source any more, or not alone. */
export async function putIn (name: string, directory: string, changes: Change[], write: (path: string, text: string) => Promise<void>): Promise<void> {
  const texts = new Map<string, string>()
  for (const { file, from, to } of changes) {
    const path = join(directory, file)
    const source = texts.get(path) ?? await readFile(path, 'utf8')
    const places = source.split(from).length - 1
    if (places !== 1) throw new Error(`${name}: src/${file} has ${places} places like this, and needs one: ${from}`)
    texts.set(path, source.replace(from, () => to))
  }
  for (const [path, text] of texts) await write(path, text)
}

/** Returns the program of the copy. Throws like putIn(). */
export async function mutant (name: string, changes: Change[]): Promise<string> {
  const home = join(project, 'build/mutants', name)
  await rm(home, { recursive: true, force: true })
  await mkdir(home, { recursive: true })
  for (const part of ['bin', 'src']) await cp(join(project, part), join(home, part), { recursive: true })
  for (const part of ['build', 'node_modules', 'package.json', 'toolchain']) await symlink(join(project, part), join(home, part))
  await putIn(name, join(home, 'src'), changes, async (path, text) => await writeFile(path, text))
  await promisify(execFile)(process.execPath, [join(project, 'scripts/compile.ts'), join(home, 'src'), join(home, 'dist')])
  return join(home, 'bin/longshored')
}
