import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'
import { removeTree } from './files.ts'

const runName = /^[0-9a-f]{20}$/

/** Removes what earlier runs of a container wrote, but for that of the last ones: `keep` runs are left, the current one included. */
export async function forgetRuns (root: string, current: string, keep: number): Promise<void> {
  const found: { path: string, changed: number }[] = []
  for (const name of await readdir(root)) {
    if (!runName.test(name) || name === current) continue
    const path = join(root, name)
    try {
      // A run's directory changed last when its exit was recorded, which is before the next run begins.
      found.push({ path, changed: (await stat(path)).mtimeMs })
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
    }
  }
  found.sort((one, other) => other.changed - one.changed)
  for (const { path } of found.slice(keep - 1)) await removeTree(path)
}
