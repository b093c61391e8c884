import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Supervisor } from '../supervisor/supervisor.ts'
import type { Task } from '../supervisor/task.ts'

/** True when the client asked not to wait (RFC 7240). */
export function wantsNoWait (request: FastifyRequest): boolean {
  const prefer = request.headers.prefer
  if (prefer === undefined) return false
  return [prefer].flat().some((value) => value?.split(',').some((part) => part.trim().toLowerCase() === 'respond-async') === true)
}

/**
 * Sends a task and answers with its result; `finish` sets what goes with it. With `Prefer: respond-async` the answer is
 * 202 and where to look, at once. What is returned is for Fastify to send, by the schema of the status that was set:
 * hence never, which fits any of them.
 */
export async function answer<T> (request: FastifyRequest, reply: FastifyReply, supervisor: Pick<Supervisor, 'send'>, task: Task<T>, finish: (result: T) => unknown): Promise<never> {
  const result = supervisor.send(task)
  if (wantsNoWait(request)) {
    // A refusal (overloaded, not ready) settles at once and is the answer; the rest is told by /tasks.
    result.catch(() => {})
    if (task.settled) await result
    reply.code(202).headers({ location: `/tasks/${task.id}`, 'preference-applied': 'respond-async' })
    return task.view() as never
  }
  return finish(await result) as never
}
