import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Container, IdParams, TaskResource, UpdateRequest, ref } from '../schemas/index.ts'
import { LongshoreError } from '../errors.ts'
import { grants, selected } from '../http/auth.ts'
import { jsonBodies } from '../http/bodies.ts'
import { PauseTask } from '../supervisor/pause.ts'
import { ResumeTask } from '../supervisor/resume.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { UpdateTask, patchLabels } from '../supervisor/update.ts'
import { answer } from './answer.ts'
import { problems } from './problems.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const tags = ['containers']

/** What a container may use of the machine: whether it runs on, and its resources. */
export async function resourceRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  // RFC 7396 has a media type of its own for what plain JSON is taken for, too.
  jsonBodies(app, 'application/merge-patch+json')

  app.patch('/containers/:id', {
    schema: {
      operationId: 'updateContainer', tags, summary: 'Change the resources and labels of a container, by a JSON merge patch', params: IdParams,
      consumes: ['application/json', 'application/merge-patch+json'], body: ref(UpdateRequest), response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) }
    }
  }, (request, reply) => {
    const { id } = request.params
    const selector = grants.get(request)?.labels
    const labels = supervisor.containers.get(id)?.labels ?? {}
    // A token must not push a container out of its own reach, into that of another.
    if (selector !== undefined && !selected(selector, patchLabels(labels, request.body.labels ?? {}))) throw new LongshoreError('forbidden', 'the token covers containers with certain labels only, and these may not be taken away')
    return answer(request, reply, supervisor, new UpdateTask({ containerId: id, change: request.body }, { requestId: request.id }), (container) => container)
  })

  app.post('/containers/:id/pause', {
    schema: { operationId: 'pauseContainer', tags, summary: 'Freeze every process of a running container', params: IdParams, response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) } }
  }, (request, reply) => answer(request, reply, supervisor, new PauseTask({ containerId: request.params.id }, { requestId: request.id }), (container) => container))

  app.post('/containers/:id/resume', {
    schema: { operationId: 'resumeContainer', tags, summary: 'Let a paused container go on', params: IdParams, response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) } }
  }, (request, reply) => answer(request, reply, supervisor, new ResumeTask({ containerId: request.params.id }, { requestId: request.id }), (container) => container))
}
