import type { FastifyInstance, FastifyReply } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { LongshoreError } from '../errors.ts'
import { whenGone } from '../http/gone.ts'
import { readOutput } from '../runtime/log-text.ts'
import { parseSignal } from '../runtime/signals.ts'
import type { Container } from '../runtime/container.ts'
import type { Process as ContainerProcess } from '../runtime/process.ts'
import type { Shim } from '../runtime/shim.ts'
import { ExecRequest, ExecResult, IdParams, Page, Process, ProcessList, ProcessParams, ProcessSignalRequest, ResizeRequest, TaskResource, ref } from '../schemas/index.ts'
import { ExecTask } from '../supervisor/exec.ts'
import { ForgetProcessTask } from '../supervisor/forget-process.ts'
import { SignalTask } from '../supervisor/signal.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { waitForExit } from '../supervisor/wait.ts'
import { answer } from './answer.ts'
import { paginate } from './paginate.ts'
import { problems } from './problems.ts'
import { ProcessWaitQuery, answerWait, waitResponses } from './wait.ts'

const accepted = { 202: { description: 'Taken; the Location tells where to look', ...ref(TaskResource) } }
const NoContent = Type.Null({ description: 'Done' })
const tags = ['processes']
/** bytes of each stream that `wait=true` answers with */
const captureLimit = 1024 * 1024

/** Init stands before the others. */
const listKey = ({ id }: { id: string }): string => `${id === 'init' ? 0 : 1} ${id}`

/** The processes of a container: its init, and what is executed beside it. */
export async function processRoutes (plain: FastifyInstance, { supervisor }: { supervisor: Supervisor }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()

  app.post('/containers/:id/processes', {
    schema: {
      operationId: 'execProcess', tags, summary: 'Execute a process in a running container', params: IdParams, body: ref(ExecRequest),
      querystring: Type.Object({ wait: Type.Optional(Type.Boolean({ default: false, description: 'Answer when it has exited, with its exit and its output; it has no input then. It goes on when the client goes away' })) }, { additionalProperties: false }),
      response: { 201: ref(ExecResult), ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504) }
    }
  }, (request, reply) => {
    const { id } = request.params
    const wait = request.query.wait === true
    const task = new ExecTask({ containerId: id, request: request.body, noInput: wait, timeout: supervisor.options.startTimeout }, { requestId: request.id })
    const runId = supervisor.find(id).run?.runId
    return answer(request, reply, supervisor, task, async (process) => {
      void reply.code(201).header('location', `/containers/${id}/processes/${process.id}`)
      if (!wait || runId === undefined) return process.view()
      return await outcome(supervisor, { containerId: id, runId, process, reply })
    })
  })

  app.get('/containers/:id/processes', {
    schema: { operationId: 'listProcesses', tags, summary: 'List the processes of a container: its init, then the others by their ids; exited ones too', params: IdParams, querystring: Type.Object(Page, { additionalProperties: false }), response: { 200: ref(ProcessList), ...problems(400, 401, 403, 404, 429, 500) } }
  }, async (request) => {
    const { limit, cursor } = request.query
    const processes = supervisor.find(request.params.id).view().processes.toSorted((one, other) => (listKey(one) < listKey(other) ? -1 : 1))
    return paginate(processes, { key: listKey }, limit, cursor)
  })

  app.get('/containers/:id/processes/:pid', {
    schema: { operationId: 'getProcess', tags, summary: 'Read a process', params: ProcessParams, response: { 200: ref(Process), ...problems(400, 401, 403, 404, 429, 500) } }
  }, async (request) => {
    const { id, pid } = request.params
    const process = supervisor.find(id).view().processes.find((one) => one.id === pid)
    if (process === undefined) throw new LongshoreError('process_not_found', `container ${id} has no process ${pid}`)
    return process
  })

  app.delete('/containers/:id/processes/:pid', {
    schema: { operationId: 'deleteProcess', tags, summary: 'Forget a process that has exited, and its output', params: ProcessParams, response: { 204: NoContent, ...accepted, ...problems(400, 401, 403, 404, 409, 429, 500, 503, 504) } }
  }, (request, reply) => {
    const { id, pid } = request.params
    const task = new ForgetProcessTask({ containerId: id, processId: pid }, { requestId: request.id })
    return answer(request, reply, supervisor, task, () => { void reply.code(204) })
  })

  app.post('/containers/:id/processes/:pid/signal', {
    schema: { operationId: 'signalProcess', tags, summary: 'Send a signal to a process', params: ProcessParams, body: ref(ProcessSignalRequest), response: { 204: NoContent, ...accepted, ...problems(400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504) } }
  }, (request, reply) => {
    const { id, pid } = request.params
    const task = new SignalTask({ containerId: id, processId: pid, signal: parseSignal(request.body.signal) }, { requestId: request.id })
    return answer(request, reply, supervisor, task, () => { void reply.code(204) })
  })

  app.post('/containers/:id/processes/:pid/resize', {
    schema: { operationId: 'resizeProcess', tags, summary: 'Give the terminal of a process another size', params: ProcessParams, body: ref(ResizeRequest), response: { 204: NoContent, ...problems(400, 401, 403, 404, 409, 413, 415, 429, 500, 503) } }
  }, async (request, reply) => {
    const { id, pid } = request.params
    const { width, height } = request.body
    const container = supervisor.find(id)
    const process = container.process(pid)
    if (process.spec.terminal !== true) throw new LongshoreError('no_terminal', `process ${pid} of container ${id} has no terminal`)
    const { shim, slot } = live(container, process)
    shim.resize(slot, width, height)
    void reply.code(204)
    return null
  })

  app.post('/containers/:id/processes/:pid/close-stdin', {
    schema: { operationId: 'closeProcessInput', tags, summary: 'End the standard input of a process, after all that was given to it; harmless when done twice', params: ProcessParams, response: { 204: NoContent, ...problems(400, 401, 403, 404, 409, 429, 500, 503) } }
  }, async (request, reply) => {
    const { id, pid } = request.params
    const container = supervisor.find(id)
    const { shim, slot } = live(container, container.process(pid))
    await shim.closeInput(slot)
    void reply.code(204)
    return null
  })

  app.get('/containers/:id/processes/:pid/wait', {
    schema: { operationId: 'waitProcess', tags, summary: 'Wait for the exit of a process', params: ProcessParams, querystring: ProcessWaitQuery, response: { ...waitResponses, ...problems(400, 401, 403, 404, 409, 429, 500, 503) } }
  }, async (request, reply) => {
    const { id, pid } = request.params
    const { timeout, ...query } = request.query
    return await answerWait(supervisor, { containerId: id, processId: pid, ...query }, timeout, request, reply)
  })
}

/** Where the input and the terminal of a process are; throws container_not_running when it has ended. */
function live (container: Container, process: ContainerProcess): { shim: Shim, slot: number } {
  const { shim } = container
  const { slot } = process
  if (shim === undefined || slot === undefined || process.status === 'stopped' || process.ended !== undefined) {
    throw new LongshoreError('container_not_running', `process ${process.id} of container ${container.id} has ended`)
  }
  return { shim, slot }
}

/** The process as it is once it has exited, with what it wrote; as it is now when the client has gone. */
async function outcome (supervisor: Supervisor, { containerId, runId, process, reply }: { containerId: string, runId: string, process: ContainerProcess, reply: FastifyReply }): Promise<ExecResult> {
  const controller = new AbortController()
  const stay = whenGone(reply, () => controller.abort())
  try {
    const row = await waitForExit(supervisor, { containerId, processId: process.id, runId, abort: controller.signal })
    const { stdout, stderr } = process.directory === undefined ? { stdout: { text: '', truncated: false }, stderr: { text: '', truncated: false } } : await readOutput(process.directory, captureLimit)
    return { ...process.view(), exit: row?.exit ?? null, stdout: stdout.text, stderr: stderr.text, truncated: stdout.truncated || stderr.truncated }
  } finally {
    stay()
  }
}
