import type { Problem } from './types.gen.ts'

/** An answer of 400 or more. `code` is stable and what to branch on; `message` is for people. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly status: number
  /** undefined when it was no longshore that answered */
  readonly code: Problem['code'] | undefined
  readonly problem: Problem | undefined
  /** seconds after which another try makes sense */
  readonly retryAfter: number | undefined

  constructor (status: number, problem: Problem | undefined, retryAfter: number | undefined) {
    super(problem?.detail ?? `the server answered ${status}`)
    this.status = status
    this.code = problem?.code
    this.problem = problem
    this.retryAfter = retryAfter
  }
}

/** Throws a ProblemError for what is no success. */
export async function checked (response: Response): Promise<Response> {
  if (response.ok) return response
  const text = await response.text()
  let problem: Problem | undefined
  if (/^application\/problem\+json/i.test(response.headers.get('content-type') ?? '')) {
    try {
      problem = JSON.parse(text) as Problem
    } catch {
      // Cut off on its way: the status has to do.
    }
  }
  const seconds = Number(response.headers.get('retry-after') ?? NaN)
  throw new ProblemError(response.status, problem, Number.isNaN(seconds) ? undefined : seconds)
}
