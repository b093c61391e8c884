import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { constants } from 'node:fs'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'

const segmentName = /^output-(\d{20})\.log$/

function nameOf (start: number): string {
  return `output-${String(start).padStart(20, '0')}.log`
}

/** Where each segment of a log begins, in order; none where the directory is not there (yet, or any more). */
export async function segmentStarts (directory: string): Promise<number[]> {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
  return names.map((name) => Number(segmentName.exec(name)?.[1])).filter((start) => Number.isSafeInteger(start)).sort((one, other) => one - other)
}

/** Opens the segment that begins here; undefined when there is none, since it is not made yet or was rotated away. */
export async function openSegment (directory: string, start: number): Promise<FileHandle | undefined> {
  try {
    return await open(join(directory, nameOf(start)), constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Where a log that no shim writes any more ends, by its files: the bytes of all segments, those that were rotated away included. */
export async function endOnDisk (directory: string): Promise<number> {
  // A rotation between the listing and the stat(2) takes the oldest segment only, so the last one is there, or there are none.
  const last = (await segmentStarts(directory)).at(-1)
  if (last === undefined) return 0
  return last + (await stat(join(directory, nameOf(last)))).size
}
