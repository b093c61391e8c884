import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { fullPolicy } from '../runtime/lifecycle.ts'
import { Container, IdParams, LeaseRequest, RestartPolicy, TaskResource, ref } from '../schemas/index.ts'
import { LeaseTask } from '../supervisor/lease.ts'
import { PolicyTask } from '../supervisor/policy.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { answer } from './answer.ts'
import { problems } from './problems.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const tags = ['containers']
const response = { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504) }

/** What a container does by itself: starting again, and ending when its lease does. */
export async function lifecycleRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.put('/containers/:id/restart-policy', {
    schema: { operationId: 'setRestartPolicy', tags, summary: 'Set whether the container is started again when it has ended', params: IdParams, body: ref(RestartPolicy), response }
  }, (request, reply) => {
    const task = new PolicyTask({ containerId: request.params.id, policy: fullPolicy(request.body) }, { requestId: request.id })
    return answer(request, reply, supervisor, task, (container) => container)
  })

  app.post('/containers/:id/lease', {
    schema: { operationId: 'renewLease', tags, summary: 'Renew the lease of the container, give it one, or take it away', params: IdParams, body: ref(LeaseRequest), response }
  }, (request, reply) => {
    const task = new LeaseTask({ containerId: request.params.id, timeToLive: request.body.timeToLive }, { requestId: request.id })
    return answer(request, reply, supervisor, task, (container) => container)
  })
}
