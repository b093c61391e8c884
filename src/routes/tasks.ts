import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { grants, selected } from '../http/auth.ts'
import { Page, TaskList, TaskResource, idPattern, ref } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import type { Task } from '../supervisor/task.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'

/** What the supervisor is doing and has done lately. */
export async function taskRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.get('/tasks', {
    schema: { operationId: 'listTasks', tags: ['tasks'], summary: 'List tasks, newest first: those under way, and the last ones that have ended', querystring: Type.Object(Page, { additionalProperties: false }), response: { 200: ref(TaskList), ...problems(400, 401, 403, 429, 500) } }
  }, async (request) => {
    const { limit, cursor } = request.query
    // The ids of one daemon are numbered in order.
    const page = paginate(supervisor.tasks(), { key: ({ id }) => id, order: 'down', wanted: (task) => covered(request, task) }, limit, cursor)
    return { ...page, items: page.items.map((task) => task.view()) }
  })

  app.get('/tasks/:id', {
    schema: { operationId: 'getTask', tags: ['tasks'], summary: 'Read a task', params: Type.Object({ id: Type.String({ pattern: idPattern }) }, { additionalProperties: false }), response: { 200: ref(TaskResource), ...problems(400, 401, 403, 404, 429, 500) } }
  }, async (request) => {
    const task = supervisor.task(request.params.id)
    if (task === undefined || !covered(request, task)) throw new LongshoreError('task_not_found', `there is no task ${request.params.id}; finished ones are kept for a while only`)
    return task.view()
  })
}

/** A token that is bound to labels sees the tasks of containers that have them, also once such a container has gone. */
function covered (request: FastifyRequest, task: Task<unknown>): boolean {
  const selector = grants.get(request)?.labels
  return selector === undefined || selected(selector, task.labels ?? {})
}
