import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { Checkpoints, checkpointView } from '../runtime/checkpoints.ts'
import { Checkpoint, CheckpointList, CheckpointParams, CheckpointRequest, IdParams, Page, TaskResource, ref } from '../schemas/index.ts'
import { CheckpointTask, DeleteCheckpointTask } from '../supervisor/checkpoint.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { answer } from './answer.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const NoContent = Type.Null({ description: 'Done' })
const tags = ['containers']

/** The checkpoints of a container. */
export async function checkpointRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.post('/containers/:id/checkpoints', {
    config: { access: 'admin' },
    schema: {
      operationId: 'createCheckpoint', tags, summary: 'Write the processes of a running container to disk, from where they can go on', params: IdParams, body: ref(CheckpointRequest),
      response: { 201: ref(Checkpoint), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) }
    }
  }, (request, reply) => {
    const { id } = request.params
    const task = new CheckpointTask({ containerId: id, request: request.body, timeout: supervisor.options.startTimeout }, { requestId: request.id })
    return answer(request, reply, supervisor, task, (checkpoint) => {
      void reply.code(201).header('location', `/containers/${id}/checkpoints/${checkpoint.name}`)
      return checkpoint
    })
  })

  app.get('/containers/:id/checkpoints', {
    schema: { operationId: 'listCheckpoints', tags, summary: 'List the checkpoints of a container, by name', params: IdParams, querystring: Type.Object(Page, { additionalProperties: false }), response: { 200: ref(CheckpointList), ...problems(400, 401, 403, 404, 429, 500, 503) } }
  }, async (request) => {
    const { limit, cursor } = request.query
    const records = await new Checkpoints(supervisor.find(request.params.id).root).list()
    return paginate(records.map(checkpointView), { key: ({ name }) => name }, limit, cursor)
  })

  app.get('/containers/:id/checkpoints/:name', {
    schema: { operationId: 'getCheckpoint', tags, summary: 'Read a checkpoint', params: CheckpointParams, response: { 200: ref(Checkpoint), ...problems(400, 401, 403, 404, 429, 500, 503) } }
  }, async (request) => {
    const { id, name } = request.params
    return checkpointView(await new Checkpoints(supervisor.find(id).root).find(id, name))
  })

  app.delete('/containers/:id/checkpoints/:name', {
    schema: { operationId: 'deleteCheckpoint', tags, summary: 'Remove a checkpoint', params: CheckpointParams, response: { 204: NoContent, ...accepted, ...problems(400, 401, 403, 404, 429, 500, 503, 504) } }
  }, (request, reply) => {
    const { id, name } = request.params
    const task = new DeleteCheckpointTask({ containerId: id, name }, { requestId: request.id })
    return answer(request, reply, supervisor, task, () => { void reply.code(204) })
  })
}
