import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Container, IdParams, TaskResource, ref } from '../schemas/index.ts'
import { PauseTask } from '../supervisor/pause.ts'
import { ResumeTask } from '../supervisor/resume.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { answer } from './answer.ts'
import { problems } from './problems.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const tags = ['containers']

/** What a container may use of the machine: whether it runs on, and its resources. */
export async function resourceRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.post('/containers/:id/pause', {
    schema: { operationId: 'pauseContainer', tags, summary: 'Freeze every process of a running container', params: IdParams, response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) } }
  }, async (request, reply) => await answer(request, reply, supervisor, new PauseTask({ containerId: request.params.id }, { requestId: request.id }), (container) => container))

  app.post('/containers/:id/resume', {
    schema: { operationId: 'resumeContainer', tags, summary: 'Let a paused container go on', params: IdParams, response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) } }
  }, async (request, reply) => await answer(request, reply, supervisor, new ResumeTask({ containerId: request.params.id }, { requestId: request.id }), (container) => container))
}
