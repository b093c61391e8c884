import { arch, cpus, release, totalmem } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type, type Static } from 'typebox'
import { describeRuntime, type RuntimeInfo } from '../runtime/oci.ts'
import { Health, Info, Ready, Version, ref } from '../schemas/index.ts'
import type { ContainerMetrics } from '../container-metrics.ts'
import { grants, selected } from '../http/auth.ts'
import type { Metrics } from '../metrics.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { problems } from './problems.ts'

const knownRuntimes = ['runc', 'crun', 'youki', 'runsc']
const runtimesKeptMs = 60_000
const tags = ['system']

/** The daemon itself: what it is, how it is, and its description. */
export async function systemRoutes (plain: FastifyInstance, { supervisor, metrics, containerMetrics, version }: { supervisor: Supervisor, metrics: Metrics, containerMetrics: ContainerMetrics, version: string }): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const { journal, cgroups, bootId, runtime, maxQueuedTasks } = supervisor.options
  let runtimes: { at: number, found: Promise<RuntimeInfo[]> } | undefined

  // Asking a runtime costs an exec for each: once a minute at most, whoever asks.
  const findRuntimes = async (): Promise<RuntimeInfo[]> => {
    if (runtimes === undefined || Date.now() - runtimes.at > runtimesKeptMs) {
      const names = [...new Set([runtime, ...knownRuntimes])]
      runtimes = { at: Date.now(), found: Promise.all(names.map(describeRuntime)).then((all) => all.filter((one) => one !== undefined)) }
    }
    return await runtimes.found
  }

  app.get('/info', {
    schema: { operationId: 'getInfo', tags, summary: 'The machine, the runtimes, the bounds', response: { 200: ref(Info), ...problems(401, 403, 429, 500) } }
  }, async (request): Promise<Static<typeof Info>> => {
    const selector = grants.get(request)?.labels
    return {
      version,
      machine: { cpus: cpus().length, memory: totalmem(), kernel: release(), architecture: arch(), bootId },
      cgroupVersion: cgroups.version,
      runtimes: await findRuntimes(),
      defaultRuntime: runtime,
      criu: await supervisor.criu.status(),
      containers: Object.fromEntries(supervisor.counts(selector === undefined ? undefined : ({ labels }) => selected(selector, labels))),
      tasks: { queued: supervisor.queued, limit: maxQueuedTasks },
      journal: { epoch: journal.epoch, first: journal.first, head: journal.head, retainEvents: journal.retention.events, retainDays: journal.retention.days, retainBytes: journal.retention.bytes, bytes: journal.bytes, writable: journal.writable },
      restore: { ready: supervisor.ready, ...supervisor.progress },
      // Whose record cannot be read has no labels that one could go by.
      quarantined: selector === undefined ? [...supervisor.quarantined.values()] : []
    }
  })

  app.get('/version', {
    exposeHeadRoute: true,
    schema: { operationId: 'getVersion', tags, summary: 'Versions', response: { 200: ref(Version), ...problems(401, 403, 429) } }
  }, async () => ({ version, node: process.version, apiVersion: '1' }))

  app.get('/healthz', {
    exposeHeadRoute: true,
    schema: { operationId: 'getHealth', tags, summary: 'The daemon answers', response: { 200: ref(Health), ...problems(401, 403, 429) } }
  }, async () => ({ status: 'ok' }))

  app.get('/readyz', {
    exposeHeadRoute: true,
    schema: { operationId: 'getReady', tags, summary: 'The daemon takes work: its containers are taken up and the journal can be written', response: { 200: ref(Ready), 503: ref(Ready), ...problems(401, 403, 429) } }
  }, async (_request, reply) => {
    const status = !supervisor.ready ? 'restoring' : journal.writable ? 'ready' : 'journal-unwritable'
    return await reply.code(status === 'ready' ? 200 : 503).send({ status, ...supervisor.progress })
  })

  app.get('/metrics', {
    schema: { operationId: 'getMetrics', tags, summary: 'Prometheus metrics', response: { 200: { description: 'Prometheus text format', content: { 'text/plain': { schema: Type.String() } } }, ...problems(401, 403, 429, 500) } }
  }, async (request, reply) => {
    const selector = grants.get(request)?.labels
    const [own, containers] = await Promise.all([metrics.registry.metrics(), containerMetrics.text(selector === undefined ? undefined : (labels) => selected(selector, labels))])
    return await reply.type(metrics.registry.contentType).send(own + containers)
  })

  app.get('/openapi.json', {
    schema: { operationId: 'getOpenapiJson', tags, summary: 'This description, as JSON', response: { 200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: Type.Unknown() } } }, ...problems(401, 403, 429) } }
  }, async () => app.swagger())

  app.get('/openapi.yaml', {
    schema: { operationId: 'getOpenapiYaml', tags, summary: 'This description, as YAML', response: { 200: { description: 'OpenAPI 3.1', content: { 'application/yaml': { schema: Type.String() } } }, ...problems(401, 403, 429) } }
  }, async (_request, reply) => await reply.type('application/yaml').send(app.swagger({ yaml: true })))
}
