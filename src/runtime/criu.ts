import { basename, dirname } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { LongshoreError } from '../errors.ts'
import { readIfThere, removeTree } from './files.ts'
import { findRuntime } from './oci.ts'
import type { Watch } from './watch.ts'

/** `reason`: CRIU's own words for why it does not work here. */
export type CriuStatus = { available: boolean, path: string | null, version: string | null, reason: string | null }

/** seconds that CRIU has to say how it is */
const answerLimit = 10
/** milliseconds after which a CRIU that did not work is asked again: it may have been installed meanwhile */
const askAgainMs = 60_000
const wordsLimit = 2000
/** Runtimes whose checkpoints are CRIU's. Others (a sandbox with a kernel of its own) make theirs by themselves. */
const byCriu = new Set(['runc', 'crun', 'youki'])

/** CRIU, the program with which runc and its like make checkpoints (criu.org): whether it is there, and works on this kernel. */
export class Criu {
  readonly #watch: Watch
  readonly #output: string
  #asked: { at: number, status: Promise<CriuStatus> } | undefined

  /** `output`: the file that takes what it says. */
  constructor (watch: Watch, output: string) {
    this.#watch = watch
    this.#output = output
  }

  /** Asked once; again after a minute where it did not work. Never rejects. */
  async status (): Promise<CriuStatus> {
    if (this.#asked === undefined || (Date.now() - this.#asked.at > askAgainMs && !(await this.#asked.status).available)) this.#asked = { at: Date.now(), status: this.#ask() }
    return await this.#asked.status
  }

  /** Throws checkpoint_unavailable where the runtime needs CRIU and that does not work. */
  async require (runtimePath: string): Promise<void> {
    if (!byCriu.has(basename(runtimePath))) return
    const { available, reason } = await this.status()
    if (!available) throw new LongshoreError('checkpoint_unavailable', `${basename(runtimePath)} needs CRIU for this, which does not work on this machine: ${reason ?? ''}`)
  }

  async #ask (): Promise<CriuStatus> {
    let path: string
    try {
      path = await findRuntime('criu')
    } catch {
      return { available: false, path: null, version: null, reason: 'there is no criu on PATH' }
    }
    try {
      const said = await this.#run(path, '--version')
      const version = /^Version: *(\S+)/m.exec(said.text)?.[1] ?? null
      const check = await this.#run(path, 'check')
      return check.status === 0 ? { available: true, path, version, reason: null } : { available: false, path, version, reason: check.status === null ? `criu check did not end within ${answerLimit} s` : criuWords(check.text) ?? `criu check ended with wait status ${check.status} and said nothing` }
    } catch (error) {
      return { available: false, path, version: null, reason: `${path} cannot be executed: ${(error as Error).message}` }
    } finally {
      await removeTree(this.#output).catch(() => {})
    }
  }

  async #run (path: string, argument: string): Promise<{ status: number | null, text: string }> {
    await mkdir(dirname(this.#output), { recursive: true, mode: 0o700 })
    await removeTree(this.#output)
    const { process: token } = await this.#watch.monitor.run({ path, args: [argument], env: Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`), stdio: this.#output })
    let late = false
    const timer = setTimeout(() => {
      late = true
      try { this.#watch.monitor.signal(token, 9) } catch { /* it has ended */ }
    }, answerLimit * 1000)
    const status = await this.#watch.ended(token)
    clearTimeout(timer)
    return { status: late ? null : status, text: await readIfThere(this.#output) ?? '' }
  }
}

/** The errors in what CRIU wrote, or its last lines where it names none; undefined when it wrote nothing. */
export function criuWords (text: string): string | undefined {
  const lines = text.split('\n').map((line) => line.replace(/^\(\d+\.\d+\)\s*/, '').trim()).filter((line) => line !== '')
  const errors = lines.filter((line) => /\bError\b/.test(line))
  const words = (errors.length > 0 ? errors.slice(-6) : lines.slice(-3)).join('; ')
  return words === '' ? undefined : words.slice(-wordsLimit)
}
