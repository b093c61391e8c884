import { access } from 'node:fs/promises'

/** True when there is something of that name; for threads that have no use for the addon. */
export async function exists (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}
