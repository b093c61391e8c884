import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { LongshoreError } from '../errors.ts'
import { grants } from '../http/auth.ts'
import { logOf } from '../http/log.ts'
import { endOf } from '../runtime/log-stream.ts'
import { placeOfBytes, placeOfTail, type Place } from '../runtime/log-tail.ts'
import { AttachQuery, IdParams, ProcessParams } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { closeCode, largestMessage } from './attach-protocol.ts'
import { attach, type AttachOptions } from './attach-session.ts'
import { chooseLog, exitOf, inputOf } from './output.ts'
import { problems } from './problems.ts'
import type { Readers } from './readers.ts'

export type AttachRoutesOptions = {
  supervisor: Supervisor
  /** seconds between pings */
  heartbeatSeconds: number
  readers: Readers
}

/** bytes of output that a client begins with when it does not say */
const usualTail = 64 * 1024

/** A process's streams over a WebSocket: docs/attach.md. Everything that can be refused is refused with a problem, before the upgrade. */
export async function attachRoutes (plain: FastifyInstance, { supervisor, heartbeatSeconds, readers }: AttachRoutesOptions): Promise<void> {
  const leaving = new AbortController()
  const sessions = new Set<Promise<void>>()
  await plain.register(websocket, {
    options: { maxPayload: largestMessage, perMessageDeflate: false },
    // ws has closed the socket with the code that fits, such as 1009 for a message that is too large.
    errorHandler: (error, socket, request) => {
      logOf(request).debug({ err: error }, 'an attached client was cut off')
      if (socket.readyState === socket.OPEN) socket.terminate()
    },
    preClose: (done) => {
      leaving.abort()
      void Promise.all(sessions).then(() => done())
    }
  })
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const asked = new WeakMap<FastifyRequest, AttachOptions>()

  const description = `A WebSocket (RFC 6455). Binary messages down: one byte of stream (1 stdout, 2 stderr), then output. Binary messages up: input, at most ${largestMessage} bytes each.
Text messages are JSON objects. Up: \`{"type":"resize","width":80,"height":24}\`, \`{"type":"close-stdin"}\`.
Down: \`attached\` first; \`position\` with the \`offset\` to come back with, after the output that it covers; \`lost\`; \`stdin-closed\`; \`error\`; \`exit\` last, then close code 1000.
A token of scope \`read\` sees the output; input and resize need \`operate\`.`
  const responses = { 101: { description: 'The WebSocket is open' }, ...problems(400, 401, 403, 404, 409, 426, 429, 500, 503) }
  const route = {
    handler: async (): Promise<never> => { throw new LongshoreError('upgrade_required', 'this is a WebSocket: ask with Upgrade: websocket') },
    wsHandler: (socket: import('ws').WebSocket, request: FastifyRequest): void => {
      const options = asked.get(request)
      let release: () => void
      try {
        release = readers.take()
      } catch {
        // The last place was taken during the handshake.
        socket.close(closeCode.later, 'too many readers')
        return
      }
      if (options === undefined) {
        socket.close(closeCode.internal)
        release()
        return
      }
      const session = attach(socket, options).finally(() => {
        release()
        sessions.delete(session)
      })
      sessions.add(session)
    }
  }

  app.get('/containers/:id/attach', {
    ...route,
    schema: { operationId: 'attachContainer', tags: ['containers'], summary: "Attach to a container's first process", description, params: IdParams, querystring: AttachQuery, response: responses },
    preHandler: async (request) => await prepare(request as FastifyRequest, request.params.id, 'init', request.query)
  })

  app.get('/containers/:id/processes/:pid/attach', {
    ...route,
    schema: { operationId: 'attachProcess', tags: ['processes'], summary: 'Attach to a process', description, params: ProcessParams, querystring: AttachQuery, response: responses },
    preHandler: async (request) => await prepare(request as FastifyRequest, request.params.id, request.params.pid, request.query)
  })

  async function prepare (request: FastifyRequest, containerId: string, processId: string, query: AttachQuery): Promise<void> {
    if (!request.ws) return
    const given = (['tail', 'tailBytes', 'offset'] as const).filter((name) => query[name] !== undefined)
    if (given.length > 1) throw new LongshoreError('bad_request', `only one of ${given.join(', ')} can be`, { extra: { errors: given.slice(1).map((field) => ({ field, rule: `cannot be together with ${given[0] ?? ''}` })) } })
    const { runId, source } = await chooseLog(supervisor, containerId, processId, query.runId)
    readers.take()()
    const container = supervisor.find(containerId)
    const until = await endOf(source)
    const readOnly = grants.get(request)?.scope === 'read'
    const input = inputOf(container, runId, processId)
    asked.set(request, {
      containerId,
      runId,
      processId,
      terminal: container.processes.get(processId)?.spec.terminal === true,
      source,
      from: await begin(source.directory, query, until.end),
      until,
      input: readOnly ? undefined : input,
      inputRefused: readOnly
        ? new LongshoreError('forbidden', 'input needs a token of scope operate')
        : input === undefined ? new LongshoreError('container_not_running', 'the process has ended') : undefined,
      exit: async (signal) => await exitOf(supervisor, container, runId, processId, signal),
      heartbeatSeconds,
      leaving: leaving.signal,
      log: logOf(request)
    })
  }
}

async function begin (directory: string, { tail, tailBytes, offset }: AttachQuery, end: number): Promise<Place> {
  if (offset !== undefined) return { offset: Math.min(offset, end), skip: 0 }
  if (tail !== undefined) return await placeOfTail(directory, end, tail, () => true)
  return await placeOfBytes(directory, end, tailBytes ?? usualTail)
}
