import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

/** Compiles bench/support/NAME.c into this directory, and returns the program's path. */
export async function compile (name: string, directory: string): Promise<string> {
  const program = join(directory, name)
  await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-o', program, join(import.meta.dirname, `${name}.c`)])
  return program
}

/** A program that takes lines and answers with lines. */
export class LineProgram {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>
  #failure: Error | undefined

  constructor (program: string, args: string[]) {
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    // It could not be executed, or does not read any more: whoever waits for its next line is told.
    const failed = (error: Error): void => { this.#failure ??= error }
    this.child.on('error', failed)
    this.child.stdin?.on('error', failed)
    if (this.child.stdout === null) throw new Error('no output')
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]()
  }

  say (line: string): void {
    this.child.stdin?.write(`${line}\n`)
  }

  async line (): Promise<string> {
    const { value, done } = await this.#lines.next() as IteratorResult<string>
    if (done === true) throw new Error(`${this.child.spawnfile} ended`, { cause: this.#failure })
    return value
  }

  end (): void {
    this.child.kill()
  }
}
