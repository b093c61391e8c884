import { randomBytes } from 'node:crypto'
import { readIfThere, writeWhole } from '../runtime/files.ts'
import { findByHash, hash, type Token, type Tokens } from './tokens.ts'

/** A login of a browser: hashes of its id and of the token it was begun with, and its end (milliseconds since 1970). */
export type Session = { hash: string, token: string, createdAt: number, expiresAt: number }

/** sessions at once; past it the one that ends first goes */
const maxSessions = 1000

export type SessionsOptions = {
  path: string
  tokens: Tokens
  lifetimeSeconds: number
  log: { warn: (details: object, message: string) => void }
}

/**
 * Logins of browsers. They are kept as hashes in a file, so that a restart of the daemon logs nobody out, and each
 * allows what its token allows at that moment: nothing, once that token has been withdrawn.
 */
export class Sessions {
  readonly #options: SessionsOptions
  #sessions: Session[] = []
  #written: Promise<void> = Promise.resolve()

  constructor (options: SessionsOptions) {
    this.#options = options
  }

  /** Takes up what the daemon before has left; a file that cannot be read only logs everybody out. */
  async open (): Promise<void> {
    const { path, log } = this.#options
    try {
      const text = await readIfThere(path)
      const kept = text === undefined ? [] : (JSON.parse(text) as { sessions: Session[] }).sessions
      this.#sessions = kept.filter((one) => typeof one.hash === 'string' && typeof one.token === 'string' && one.expiresAt > Date.now())
    } catch (error) {
      log.warn({ err: error }, 'the sessions of browsers could not be read: they have to log in again')
    }
  }

  /** Begins one for the holder of a token. The id is for the cookie alone. Resolves when a restart would know of it. */
  async begin ({ hash: token }: Token): Promise<{ id: string, session: Session }> {
    const id = randomBytes(32).toString('base64url')
    const now = Date.now()
    const session = { hash: hash(id), token, createdAt: now, expiresAt: now + this.#options.lifetimeSeconds * 1000 }
    this.#sessions = this.#sessions.filter((one) => one.expiresAt > now)
    this.#sessions.push(session)
    if (this.#sessions.length > maxSessions) this.#sessions.shift()
    await this.#write()
    return { id, session }
  }

  find (id: string): { session: Session, token: Token } | undefined {
    return this.#alive(findByHash(this.#sessions, hash(id)))
  }

  findByHash (wanted: string): { session: Session, token: Token } | undefined {
    return this.#alive(findByHash(this.#sessions, wanted))
  }

  async end (wanted: string): Promise<void> {
    this.#sessions = this.#sessions.filter((one) => one.hash !== wanted)
    await this.#write()
  }

  #alive (session: Session | undefined): { session: Session, token: Token } | undefined {
    if (session === undefined || session.expiresAt <= Date.now()) return undefined
    const token = this.#options.tokens.findByHash(session.token)
    return token === undefined ? undefined : { session, token }
  }

  /** One after another, each with all that is known by then. */
  async #write (): Promise<void> {
    const { path, log } = this.#options
    this.#written = this.#written.then(async () => await writeWhole(path, `${JSON.stringify({ sessions: this.#sessions })}\n`)).catch((error: unknown) => {
      log.warn({ err: error }, 'the sessions of browsers could not be written: the next restart logs them out')
    })
    await this.#written
  }
}
