import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { hasCode } from '../errors.ts'
import { writeWhole } from '../runtime/files.ts'

export type Scope = 'read' | 'operate' | 'admin'

type StoredToken = { id: string, name: string, scope: Scope, hash?: string, token?: string, createdAt: string, labels?: Record<string, string> }
export type Token = { name: string, scope: Scope, hash: string, labels: Record<string, string> | undefined }

const scopes = new Set<string>(['read', 'operate', 'admin'])

/** How secrets are kept and compared: what is random is safe behind one round of SHA-256. */
export function hash (secret: string): string {
  return `sha256:${createHash('sha256').update(secret).digest('hex')}`
}

/** The one of `all` whose hash this is. Looks at all of them, always: the time taken must not tell which one was close. */
export function findByHash<T extends { hash: string }> (all: Iterable<T>, wanted: string): T | undefined {
  const given = Buffer.from(wanted)
  let found: T | undefined
  for (const one of all) {
    const known = Buffer.from(one.hash)
    if (known.length === given.length && timingSafeEqual(known, given)) found = one
  }
  return found
}

type Log = { error: (details: object, message: string) => void }

/** The tokens of TCP clients: a file with their hashes, read again when it changes. */
export class Tokens {
  readonly #path: string
  readonly #announce: (token: string) => void
  #modified = -1
  #tokens: Token[] = []
  /** told of a file that cannot be read once the daemon runs */
  log: Log | undefined

  constructor (path: string, announce: (token: string) => void) {
    this.#path = path
    this.#announce = announce
  }

  /** Makes the file with one admin token when there is none; the token itself is told once and never kept. */
  async open (): Promise<void> {
    try {
      await this.#read()
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
      const token = `lsh_${randomBytes(24).toString('base64url')}`
      await this.#write([{ id: randomBytes(6).toString('hex'), name: 'first', scope: 'admin', hash: hash(token), createdAt: new Date().toISOString() }])
      this.#announce(token)
    }
  }

  /** Takes up changes of the file. One that is gone allows nobody; one that is half written leaves things as they were. */
  async refresh (): Promise<void> {
    try {
      await this.#read()
    } catch (error) {
      if (hasCode(error, 'ENOENT')) {
        this.#tokens = []
        this.#modified = -1
      } else {
        this.log?.error({ err: error }, 'the token file cannot be read; the tokens are as they were')
      }
    }
  }

  /** The token that this is, as of the last refresh. */
  find (token: string): Token | undefined {
    return this.findByHash(hash(token))
  }

  findByHash (wanted: string): Token | undefined {
    return findByHash(this.#tokens, wanted)
  }

  async #read (): Promise<void> {
    const { mtimeMs } = await stat(this.#path)
    if (mtimeMs === this.#modified) return
    const { tokens } = JSON.parse(await readFile(this.#path, 'utf8')) as { tokens: StoredToken[] }
    if (!Array.isArray(tokens) || !tokens.every(({ scope }) => scopes.has(scope))) throw new Error(`${this.#path}: tokens must be a list, each with a scope of read, operate or admin`)
    // Whoever wrote a token in plain words gets it hashed.
    if (tokens.some(({ token }) => token !== undefined)) {
      await this.#write(tokens.map(({ token, ...rest }) => (token === undefined ? rest : { ...rest, hash: hash(token) })))
    } else {
      this.#take(tokens)
      this.#modified = mtimeMs
    }
  }

  #take (tokens: StoredToken[]): void {
    this.#tokens = tokens.flatMap(({ name, scope, hash, labels }) => (hash === undefined ? [] : [{ name, scope, hash, labels }]))
  }

  async #write (tokens: StoredToken[]): Promise<void> {
    this.#take(tokens)
    await writeWhole(this.#path, `${JSON.stringify({ tokens }, null, 2)}\n`, true)
    this.#modified = (await stat(this.#path)).mtimeMs
  }
}
