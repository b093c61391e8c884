import { fileSteps as run } from '../native/index.ts'

/** One step on files. */
export type FileStep =
  /** with its parents, mode 0700; one that is there is fine */
  | { op: 'mkdir', path: string }
  /** whole or not at all: a temporary name, then rename(2), mode 0600; `sync` makes the bytes last over a power cut */
  | { op: 'write', path: string, text: string, sync?: boolean }
  /** in place of what has that name, likewise whole or not at all */
  | { op: 'symlink', path: string, target: string }
  /** with all that is below, following no symbolic link; what is not there is fine */
  | { op: 'remove', path: string }
  | { op: 'exists', path: string }
  /** the text of a regular file, undefined when there is none; EFBIG above `limit` bytes, EISDIR and EINVAL for what is no file */
  | { op: 'read', path: string, limit: number }
  /** the files of one name in a directory and all below it, one after another; undefined when it is not there */
  | { op: 'gather', path: string, name: string }
  /** the first of these that may be executed */
  | { op: 'executable', paths: string[] }

type Result<Step extends FileStep> = Step extends { op: 'exists' }
  ? boolean
  : Step extends { op: 'read' | 'gather' | 'executable' } ? string | undefined : undefined

/**
 * Runs steps on files in one errand of the thread pool, where each alone would be one or several. They are done in order, and
 * the first that fails ends them: the error is a system error (`code`, `syscall`) with the `path` and the number of the `step`;
 * what was done before it stays.
 */
export async function fileSteps<const Steps extends readonly FileStep[]> (steps: Steps): Promise<{ -readonly [At in keyof Steps]: Result<Steps[At]> }> {
  return await run(steps) as { -readonly [At in keyof Steps]: Result<Steps[At]> }
}

/**
 * Writes a file whole or not at all: a temporary name, then rename(2), mode 0600.
 * `sync` makes it last over a power cut, at the price of an fsync(2).
 */
export async function writeWhole (path: string, text: string, sync = false): Promise<void> {
  await fileSteps([{ op: 'write', path, text, sync }])
}

const readLimit = 16 * 1024 * 1024

/** The text of a file (at most 16 MiB), undefined where there is none. */
export async function readIfThere (path: string): Promise<string | undefined> {
  const [text] = await fileSteps([{ op: 'read', path, limit: readLimit }])
  return text
}

export async function exists (path: string): Promise<boolean> {
  const [there] = await fileSteps([{ op: 'exists', path }])
  return there
}

export async function removeTree (path: string): Promise<void> {
  await fileSteps([{ op: 'remove', path }])
}
