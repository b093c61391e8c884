import { readdir } from 'node:fs/promises'
import { readFiles } from '../native/index.ts'

const lineLimit = 65536

/** True while there is a process whose command line has this path in it: what an earlier daemon started is nobody's child that could be waited for. */
export async function mentioned (path: string): Promise<boolean> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const { texts } = await readFiles(pids.map((pid) => `/proc/${pid}/cmdline`), lineLimit)
  return texts.some((text) => text?.includes(path) === true)
}
