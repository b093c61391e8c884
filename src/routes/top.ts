import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { processesOf } from '../runtime/cgroup.ts'
import { sampled } from '../runtime/sampler.ts'
import { describeProcesses } from '../runtime/top.ts'
import { HostProcessList, IdParams, Page, ref } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'

/** Every process of a container as the kernel lists it, also those that longshore did not start. */
export async function topRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  plain.withTypeProvider<TypeBoxTypeProvider>().get('/containers/:id/top', {
    schema: {
      operationId: 'listContainerPids', tags: ['processes'], summary: "List every process in the container's cgroup, by pid", params: IdParams, querystring: Type.Object(Page, { additionalProperties: false }),
      response: { 200: ref(HostProcessList), ...problems(400, 401, 403, 404, 409, 429, 500) }
    }
  }, async (request) => {
    const { id } = request.params
    const { limit, cursor } = request.query
    const container = supervisor.find(id)
    const cgroup = container.run?.cgroup
    if (!sampled(container) || cgroup == null) throw new LongshoreError('container_not_running', `container ${id} has no processes`)
    const pids = [...new Set(await processesOf(cgroup))].sort((one, other) => one - other)
    const page = paginate(pids, { key: (pid) => String(pid).padStart(10, '0') }, limit, cursor)
    return { items: await describeProcesses(container, page.items), nextCursor: page.nextCursor }
  })
}
