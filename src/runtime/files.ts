import { access, open, readFile, rename, rm, unlink } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { hasCode } from '../errors.ts'

/**
 * Writes a file whole or not at all: a temporary name, then rename(2), mode 0600.
 * `sync` makes it last over a power cut, at the price of an fsync(2).
 */
export async function writeWhole (path: string, text: string, sync = false): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      if (sync) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  }
}

/** The text of a file, undefined where there is none. */
export async function readIfThere (path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

export async function exists (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}

export async function removeTree (path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}
