import { open, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { CheckpointView, CreateRequest } from '../schemas/index.ts'
import { exists, fileSteps, readIfThere, removeTree } from './files.ts'

/** What `checkpoint.json` holds. */
export type CheckpointRecord = CheckpointView & {
  /** what was laid over the process of the bundle */
  process: CreateRequest['process'] | null
  /** the event stream has told of it */
  told: boolean
}

const draftPrefix = '.new-'
const gonePrefix = '.gone-'

/**
 * The checkpoints of a container on disk: `checkpoints/<name>/` below its root, with `checkpoint.json` and the `images`.
 * While one is made or removed its name begins with a dot, as no id does: what has a name is whole.
 */
export class Checkpoints {
  readonly #root: string

  /** `root`: the container's durable directory */
  constructor (root: string) {
    this.#root = join(root, 'checkpoints')
  }

  images (name: string): string {
    return join(this.#root, name, 'images')
  }

  /** Of one that is being made. */
  draft (name: string): { path: string, images: string, work: string } {
    const path = join(this.#root, `${draftPrefix}${name}`)
    return { path, images: join(path, 'images'), work: join(path, 'work') }
  }

  /** False where none was ever begun, as with most containers. */
  async any (): Promise<boolean> {
    return await exists(this.#root)
  }

  async names (): Promise<string[]> {
    return (await this.#all()).filter((name) => !name.startsWith('.')).sort()
  }

  /** Those whose making was cut off. */
  async drafts (): Promise<string[]> {
    return (await this.#all()).filter((name) => name.startsWith(draftPrefix)).map((name) => name.slice(draftPrefix.length))
  }

  async list (): Promise<CheckpointRecord[]> {
    const records = await Promise.all((await this.names()).map(async (name) => await this.read(name)))
    return records.filter((record) => record !== undefined)
  }

  /** Undefined when there is none of this name, or what says so cannot be read: it can still be removed then. */
  async read (name: string): Promise<CheckpointRecord | undefined> {
    return parse(await readIfThere(join(this.#root, name, 'checkpoint.json')))
  }

  /** As read(); throws checkpoint_not_found. */
  async find (containerId: string, name: string): Promise<CheckpointRecord> {
    const record = await this.read(name)
    if (record === undefined) throw new LongshoreError('checkpoint_not_found', `container ${containerId} has no checkpoint ${name}`)
    return record
  }

  /** Makes the directories into which the runtime writes. */
  async begin (record: CheckpointRecord): Promise<{ images: string, work: string }> {
    const { path, images, work } = this.draft(record.name)
    await fileSteps([{ op: 'remove', path }, { op: 'mkdir', path: images }, { op: 'mkdir', path: work }, { op: 'write', path: join(path, 'checkpoint.json'), text: JSON.stringify(record) }])
    return { images, work }
  }

  /** Gives one that was dumped its name, after its bytes are sure to last. */
  async finish (record: CheckpointRecord): Promise<CheckpointRecord> {
    const { path, images, work } = this.draft(record.name)
    const whole = { ...record, size: await settle(images) }
    await fileSteps([{ op: 'write', path: join(path, 'checkpoint.json'), text: JSON.stringify(whole), sync: true }, { op: 'remove', path: work }])
    await rename(path, join(this.#root, record.name))
    return whole
  }

  async readDraft (name: string): Promise<CheckpointRecord | undefined> {
    return parse(await readIfThere(join(this.draft(name).path, 'checkpoint.json')))
  }

  async discard (name: string): Promise<void> {
    await removeTree(this.draft(name).path)
  }

  async markTold (record: CheckpointRecord): Promise<void> {
    await fileSteps([{ op: 'write', path: join(this.#root, record.name, 'checkpoint.json'), text: JSON.stringify({ ...record, told: true }) }])
  }

  async remove (name: string): Promise<void> {
    const gone = join(this.#root, `${gonePrefix}${name}`)
    await removeTree(gone)
    await rename(join(this.#root, name), gone)
    await removeTree(gone)
  }

  /** Ends removals that were cut off. */
  async sweep (): Promise<void> {
    for (const name of await this.#all()) if (name.startsWith(gonePrefix)) await removeTree(join(this.#root, name))
  }

  async #all (): Promise<string[]> {
    try {
      return await readdir(this.#root)
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return []
      throw error
    }
  }
}

/** It is written whole or not at all, so what is no JSON was damaged from outside. */
function parse (text: string | undefined): CheckpointRecord | undefined {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as CheckpointRecord
  } catch {
    return undefined
  }
}

export function checkpointView ({ process: _, told: __, ...view }: CheckpointRecord): CheckpointView {
  return view
}

/** Bytes of the files in and below a directory, each of them on the disk from now on. */
async function settle (directory: string): Promise<number> {
  let size = 0
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const file = await open(join(entry.parentPath, entry.name))
    try {
      size += (await file.stat()).size
      await file.sync()
    } finally {
      await file.close()
    }
  }
  return size
}
