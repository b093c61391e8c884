import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { labelQuery, labelsMatch } from '../events/labels.ts'
import { grants, selected } from '../http/auth.ts'
import { creationKey } from '../runtime/containers.ts'
import { parseSignal } from '../runtime/signals.ts'
import { Container, ContainerList, CreateRequest, IdParams, Page, SignalRequest, StartRequest, StopRequest, TaskResource, ref, statuses } from '../schemas/index.ts'
import { CreateTask } from '../supervisor/create.ts'
import { DeleteTask } from '../supervisor/delete.ts'
import { GetTask } from '../supervisor/get.ts'
import { sourceOf } from '../supervisor/restoration.ts'
import { SignalTask } from '../supervisor/signal.ts'
import { StartTask } from '../supervisor/start.ts'
import { StopTask } from '../supervisor/stop.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { answer } from './answer.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const NoContent = Type.Null({ description: 'Done' })
const ListQuery = Type.Object({
  status: Type.Optional(Type.Array(Type.Enum([...statuses]), { maxItems: 8, description: 'Only these; repeatable' })),
  label: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { maxItems: 64, description: '`key` or `key=value`; repeatable, all must match' })),
  ...Page
}, { additionalProperties: false })
const tags = ['containers']

/** The containers, and what can be done with one. */
export async function containerRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.post('/containers', {
    schema: {
      operationId: 'createContainer', tags, summary: 'Create a container from an OCI bundle, and start it', body: ref(CreateRequest),
      response: { 201: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) }
    }
  }, async (request, reply) => {
    if (request.body.stopSignal !== undefined) parseSignal(request.body.stopSignal)
    const selector = grants.get(request)?.labels
    if (selector !== undefined && !selected(selector, request.body.labels ?? {})) throw new LongshoreError('forbidden', `the token covers containers with certain labels only, and this one has to have them: ${Object.entries(selector).map(([key, value]) => `${key}=${value}`).join(', ')}`)
    const { checkpoint, id = '', start } = request.body
    if (checkpoint !== undefined && start === false) throw new LongshoreError('bad_request', 'what is restored runs at once', { extra: { errors: [{ field: 'start', rule: 'must not be false with checkpoint' }] } })
    if (checkpoint !== undefined && selector !== undefined) {
      const { container, name } = sourceOf(checkpoint, id)
      // One of a container that the token does not cover looks like one that does not exist.
      if (!selected(selector, supervisor.containers.get(container)?.labels ?? {})) throw new LongshoreError('checkpoint_not_found', `container ${container} has no checkpoint ${name}`)
    }
    const task = new CreateTask(request.body, { requestId: request.id })
    return answer(request, reply, supervisor, task, (container) => {
      reply.code(201).header('location', `/containers/${container.id}`)
      return container
    })
  })

  app.get('/containers', {
    schema: { operationId: 'listContainers', tags, summary: 'List containers in the order of their creation', querystring: ListQuery, response: { 200: ref(ContainerList), ...problems(400, 401, 403, 429, 500) } }
  }, async (request) => {
    const { status, label, limit, cursor } = request.query
    const wanted = (label ?? []).map(labelQuery)
    const selector = grants.get(request)?.labels
    const page = paginate(supervisor.all(), {
      key: creationKey,
      wanted: (container) => (status === undefined || status.includes(container.shownStatus)) && labelsMatch(wanted, container.labels) && (selector === undefined || selected(selector, container.labels))
    }, limit, cursor)
    // Only what is on the page is described: of a thousand a tenth, as a rule.
    return { ...page, items: page.items.map((container) => container.view()) }
  })

  app.get('/containers/:id', {
    schema: { operationId: 'getContainer', tags, summary: 'Read a container', params: IdParams, response: { 200: ref(Container), ...problems(400, 401, 403, 404, 429, 500) } }
  }, (request, reply) => {
    const task = new GetTask({ containerId: request.params.id }, { requestId: request.id })
    supervisor.begin(task)
    reply.send(task.result)
  })

  app.delete('/containers/:id', {
    schema: {
      operationId: 'deleteContainer', tags, summary: 'Remove a container; its bundle is not touched', params: IdParams,
      querystring: Type.Object({ force: Type.Optional(Type.Boolean({ default: false, description: 'Kill a live one first' })) }, { additionalProperties: false }),
      response: { 204: NoContent, ...accepted, ...problems(400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504) }
    }
  }, (request, reply) => {
    const task = new DeleteTask({ containerId: request.params.id, remove: true, force: request.query.force ?? false }, { requestId: request.id })
    return answer(request, reply, supervisor, task, () => { void reply.code(204) })
  })

  app.post('/containers/:id/start', {
    preValidation: async (request) => { request.body ??= {} },
    schema: { operationId: 'startContainer', tags, summary: 'Start a created container, or a stopped one again as a new run', params: IdParams, body: ref(StartRequest), response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) } }
  }, (request, reply) => {
    const { checkpoint } = request.body
    return answer(request, reply, supervisor, new StartTask({ containerId: request.params.id, ...(checkpoint === undefined ? {} : { checkpoint }) }, { requestId: request.id }), (container) => container)
  })

  app.post('/containers/:id/signal', {
    schema: { operationId: 'signalContainer', tags, summary: 'Send a signal to a process of the container, or to all', params: IdParams, body: ref(SignalRequest), response: { 204: NoContent, ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504) } }
  }, (request, reply) => {
    const { signal, processId, all } = request.body
    const task = new SignalTask({ containerId: request.params.id, signal: parseSignal(signal), processId, all }, { requestId: request.id })
    return answer(request, reply, supervisor, task, () => { void reply.code(204) })
  })

  app.post('/containers/:id/stop', {
    preValidation: async (request) => { request.body ??= {} },
    schema: { operationId: 'stopContainer', tags, summary: 'Signal, wait, then SIGKILL', params: IdParams, body: ref(StopRequest), response: { 200: ref(Container), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504) } }
  }, (request, reply) => {
    const { signal, timeout } = request.body
    const task = new StopTask({ containerId: request.params.id, ...(signal === undefined ? {} : { signal: parseSignal(signal) }), ...(timeout === undefined ? {} : { timeout }) }, { requestId: request.id })
    return answer(request, reply, supervisor, task, (container) => container)
  })
}
