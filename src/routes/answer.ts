import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Supervisor } from '../supervisor/supervisor.ts'
import type { Task } from '../supervisor/task.ts'

/** True when the client asked not to wait (RFC 7240). */
function wantsNoWait (request: FastifyRequest): boolean {
  const prefer = request.headers.prefer
  if (prefer === undefined) return false
  return [prefer].flat().some((value) => value?.split(',').some((part) => part.trim().toLowerCase() === 'respond-async') === true)
}

/**
 * Sends a task and answers with its result; `finish` sets what goes with it, and gives the body or a promise of it. What has settled
 * by then is answered in the same turn. With `Prefer: respond-async` the answer is 202 and where to look, at once. To be returned
 * as it is from a handler that is no async function: Fastify sends what is promised, by the schema of the status that was set,
 * hence never, which fits any of them.
 */
export function answer<T> (request: FastifyRequest, reply: FastifyReply, supervisor: Pick<Supervisor, 'begin'>, task: Task<T>, finish: (result: T) => unknown): Promise<never> {
  supervisor.begin(task)
  if (wantsNoWait(request)) {
    // A refusal (overloaded, not ready) settles at once and is the answer; the rest is told by /tasks.
    if (task.settled) void task.result
    reply.code(202).headers({ location: `/tasks/${task.id}`, 'preference-applied': 'respond-async' })
    return Promise.resolve(task.view()) as Promise<never>
  }
  // Null, since nothing at all is not sent to a client that has gone, and then no hook would see the end of the request either.
  if (!task.settled) return task.answer.then(async (result) => await finish(result) ?? null) as Promise<never>
  const body = finish(task.result)
  if (body instanceof Promise) return body as Promise<never>
  reply.send(body)
  // What is undefined Fastify takes for an answer that was sent.
  return undefined as unknown as Promise<never>
}
