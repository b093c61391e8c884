import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { LongshoreError } from '../errors.ts'
import { refuseBy } from '../http/auth.ts'
import { whenGone } from '../http/gone.ts'
import { Exit, IdParams, ref, type ExitView } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { waitConditions, waitForExit, type WaitInput } from '../supervisor/wait.ts'
import { problems } from './problems.ts'

const runId = Type.Optional(Type.String({ maxLength: 64, description: 'Of this run, whatever has come after it' }))
const timeout = Type.Optional(Type.Number({ minimum: 0, maximum: 86400, description: 'Seconds; 204 when it has not ended by then. Ask again with the same parameters' }))

const WaitQuery = Type.Object({
  condition: Type.Optional(Type.Enum([...waitConditions], { default: 'stopped', description: '`stopped`: at once if it has ended already; `removed`: when the container has gone; `next-exit`: one more exit than were told when this was asked, or than `after`' })),
  runId,
  after: Type.Optional(Type.String({ maxLength: 64, description: 'With `next-exit`: the run whose exit you know (the header X-Run-Id of the answer before), so that none is missed in between' })),
  timeout
}, { additionalProperties: false })

/** Of a wait for one process: its query. */
export const ProcessWaitQuery = Type.Object({ runId, timeout }, { additionalProperties: false })

const responseHeaders = { 'X-Run-Id': { type: 'string', description: 'The run whose exit this is' } }
/** The answers of a wait, but for its problems. */
export const waitResponses = {
  200: { description: 'How it ended', headers: responseHeaders, ...ref(Exit) },
  204: Type.Null({ description: 'It has not ended within `timeout`' })
}

/** Long polls for exits. */
export async function waitRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.get('/containers/:id/wait', {
    schema: {
      operationId: 'waitContainer', tags: ['containers'], summary: 'Wait for an exit; also right for a container that has gone', params: IdParams, querystring: WaitQuery,
      response: { ...waitResponses, ...problems(400, 401, 403, 404, 409, 429, 500, 503) }
    }
  }, async (request, reply) => {
    const { timeout, ...query } = request.query
    return await answerWait(supervisor, { containerId: request.params.id, ...query }, timeout, request, reply)
  })
}

/** Answers with the exit, or 204 when it has not come within `timeout` seconds. Serves the container and any of its processes. */
export async function answerWait (supervisor: Supervisor, input: Omit<WaitInput, 'abort'>, timeout: number | undefined, request: FastifyRequest, reply: FastifyReply): Promise<ExitView> {
  const controller = new AbortController()
  const leave = (): void => controller.abort()
  const timer = timeout === undefined ? undefined : setTimeout(leave, timeout * 1000)
  const stay = whenGone(reply, leave)
  let refused: LongshoreError | undefined
  refuseBy(request, (error) => { refused = error; leave() })
  try {
    const row = await waitForExit(supervisor, { ...input, abort: controller.signal })
    if (row === undefined) {
      if (refused !== undefined) throw refused
      void reply.code(204)
      return undefined as never
    }
    void reply.header('x-run-id', row.runId)
    return row.exit
  } finally {
    clearTimeout(timer)
    stay()
  }
}
