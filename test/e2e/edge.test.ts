import t from 'tap'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Daemon, project, trap } from '../support/daemon.ts'

t.test('over TCP a token is always asked', async (t) => {
  const daemon = await Daemon.start(['--listen', '127.0.0.1:0', '--allowed-origin', 'http://good.example'])
  t.teardown(async () => await daemon.destroy())
  const address = /"address":"([^"]+)"/.exec(daemon.output)?.[1] ?? ''
  const token = /(lsh_[\w-]+)/.exec(daemon.output)?.[1] ?? ''
  const url = `http://${address}`
  const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<{ status: number, body: any }> => { // any: the wire
    const response = await fetch(url + path, { method, headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body }) })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
  }
  t.match(await ask('/version'), { status: 401, body: { code: 'unauthorized' } })
  t.match(await ask('/version', { authorization: 'Bearer wrong' }), { status: 401 })
  const admin = { authorization: `Bearer ${token}` }
  t.match(await ask('/version', admin), { status: 200 })
  t.match(await ask('/version', { ...admin, origin: 'http://evil.example' }), { status: 403, body: { code: 'forbidden_origin' } })
  t.match(await ask('/version', { ...admin, origin: 'http://good.example' }), { status: 200 })
  t.match(await ask('/events?follow=false', { origin: 'http://evil.example', ...admin }), { status: 403 }, 'GET streams too')
  const http = await import('node:http')
  const rebound = await new Promise((resolve) => http.get(url + '/version', { headers: { ...admin, host: 'rebound.example' } }, (response) => resolve(response.statusCode)))
  t.equal(rebound, 403, 'another Host is refused')

  const file = join(daemon.root, 'tokens.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  const kept = JSON.parse(await readFile(file, 'utf8'))
  t.notOk(JSON.stringify(kept).includes(token), 'only the hash is kept')
  kept.tokens.push({ id: 'r', name: 'reader', scope: 'read', token: 'read-me', createdAt: '' }, { id: 'o', name: 'operator', scope: 'operate', token: 'operate-me', createdAt: '' }, { id: 's', name: 'some', scope: 'admin', token: 'web-only', createdAt: '', labels: { app: 'web' } })
  await writeFile(file, JSON.stringify(kept))
  const reader = { authorization: 'Bearer read-me' }
  t.match(await ask('/containers', reader), { status: 200 })
  t.notOk((await readFile(file, 'utf8')).includes('read-me'), 'a token in plain words is hashed')
  t.match(await ask('/containers', reader, 'POST', '{"bundle":"/x"}'), { status: 403, body: { code: 'forbidden' } })
  const operator = { authorization: 'Bearer operate-me' }
  t.match(await ask('/containers', operator, 'POST', '{"bundle":"/x"}'), { status: 403 })
  t.match(await ask('/containers/none/stop', operator, 'POST', '{}'), { status: 404 })

  const bundle = await daemon.bundle('trap', trap(0))
  await daemon.post('/containers', { id: 'web', bundle, labels: { app: 'web' }, start: false })
  await daemon.post('/containers', { id: 'db', bundle, labels: { app: 'db' }, start: false })
  const some = { authorization: 'Bearer web-only' }
  t.same((await ask('/containers', some)).body.items.map(({ id }: { id: string }) => id), ['web'])
  t.match(await ask('/containers/web', some), { status: 200 })
  t.match(await ask('/containers/db', some), { status: 404 })
  t.match(await ask('/containers', some, 'POST', JSON.stringify({ id: 'other', bundle, start: false })), { status: 403, body: { code: 'forbidden' } }, 'it creates none that it does not cover')
  t.match(await ask('/containers', some, 'POST', JSON.stringify({ id: 'web-2', bundle, labels: { app: 'web' }, start: false })), { status: 201 })
  t.match(await ask('/containers/web-2', some, 'DELETE'), { status: 204 })
  const tasks = (await ask('/tasks', some)).body.items as { id: string, containerId: string }[]
  t.same([...new Set(tasks.map(({ containerId }) => containerId))].sort(), ['web', 'web-2'], 'it sees the tasks of its own containers, of gone ones too')
  const hidden = (await ask('/tasks', admin)).body.items.find(({ containerId }: { containerId: string }) => containerId === 'db')
  t.match(await ask(`/tasks/${hidden.id}`, some), { status: 404, body: { code: 'task_not_found' } })
  t.match(await ask(`/tasks/${tasks[0]?.id ?? ''}`, some), { status: 200 })
  t.same((await ask('/info', some)).body.containers, { created: 1 })

  for (let i = 0; i < 25; i++) await ask('/version', { authorization: 'Bearer guess' })
  t.match(await ask('/version', { authorization: 'Bearer guess' }), { status: 429 })
})

t.test('without waiting, and what the supervisor has done', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  const bundle = await daemon.bundle('trap', trap(5))
  const taken = await daemon.post('/containers', { id: 'later', bundle }, { prefer: 'respond-async' })
  t.equal(taken.status, 202)
  t.equal(taken.headers['preference-applied'], 'respond-async')
  t.equal(taken.headers.location, `/tasks/${taken.body.id}`)
  const start = await events.type('StateStart', 'later')
  t.equal(start.data.taskId, taken.body.id, 'the event names the task')
  t.equal(start.data.requestId, taken.headers['x-request-id'], 'and the request')
  t.match((await daemon.get(`/tasks/${taken.body.id}`)).body, { kind: 'create', status: 'succeeded', containerId: 'later' })
  const failing = await daemon.post('/containers', { bundle: '/nowhere' }, { prefer: 'respond-async' })
  t.equal(failing.status, 202)
  let failed = (await daemon.get(`/tasks/${failing.body.id}`)).body
  while (failed.status === 'queued' || failed.status === 'running') failed = (await daemon.get(`/tasks/${failing.body.id}`)).body
  t.match(failed, { status: 'failed', error: { code: 'invalid_bundle' } })
  const all = (await daemon.get('/tasks')).body.items.map(({ id }: { id: string }) => id)
  t.same(all, [...all].sort().reverse(), 'newest first')
  const paged: string[] = []
  for (let path = '/tasks?limit=1'; path !== '';) {
    const { body: { items, nextCursor } } = await daemon.get(path)
    paged.push(...items.map(({ id }: { id: string }) => id))
    path = nextCursor === null || paged.length > all.length ? '' : `/tasks?limit=1&cursor=${nextCursor}`
  }
  t.same(paged, all, 'pages go on where the one before ended')
  t.match((await daemon.get('/tasks/none')).body, { code: 'task_not_found' })

  const metrics = (await daemon.get('/metrics')).text
  for (const line of ['longshore_containers{status="running"} 1', 'longshore_container_create_seconds_count 1', 'longshore_container_start_seconds_count 1', 'longshore_event_subscribers 1', 'longshore_tasks_queued 0']) t.match(metrics, line)
  t.match(metrics, /longshore_monitored_descriptors [3-9]/)
  await daemon.trapped('later')
  await daemon.post('/containers/later/stop', {})
  await daemon.delete('/containers/later')
  const after = (await daemon.get('/metrics')).text
  t.match(after, 'longshore_container_exit_seconds_count 1')
  t.notMatch(after, 'longshore_containers{status="running"} 1')
  t.match(after, 'longshore_monitored_descriptors 0', 'nothing is watched any more')

  for (const id of ['a', 'b', 'c']) await daemon.post('/containers', { id, bundle, start: false, labels: { n: id, all: '' } })
  const page = await daemon.get('/containers?limit=2')
  t.same(page.body.items.map(({ id }: { id: string }) => id), ['a', 'b'])
  t.same((await daemon.get(`/containers?limit=2&cursor=${page.body.nextCursor}`)).body.items.map(({ id }: { id: string }) => id), ['c'])
  t.same((await daemon.get('/containers?label=n=b&label=all')).body.items.map(({ id }: { id: string }) => id), ['b'])
  t.same((await daemon.get('/containers?status=running')).body.items, [])
  t.equal((await daemon.get('/containers/a/wait?timeout=0.05')).status, 204)

  await daemon.post('/containers', { id: 'causes', bundle })
  await daemon.post('/containers/causes/processes', { id: 'side', args: ['/bin/sleep', '100'] })
  const killed = await daemon.post('/containers/causes/processes/side/signal', { signal: 'KILL' })
  const stop = await daemon.post('/containers/causes/stop', {}, { 'x-request-id': 'ends-it' })
  t.equal(stop.headers['x-request-id'], 'ends-it')
  for (const [processId, requestId] of [['side', killed.headers['x-request-id']], ['init', 'ends-it']] as const) {
    const { data } = await events.next(({ event, data }) => event === 'StateExit' && data.containerId === 'causes' && data.processId === processId)
    t.equal(data.requestId, requestId, `the exit of ${processId} names the request that ended it`)
    t.match((await daemon.get(`/tasks/${data.taskId}`)).body, { containerId: 'causes' }, 'and a task that can be read')
  }
  events.close()
})

t.test('a stop of the daemon ends streams and waits, and leaves the containers', async (t) => {
  const daemon = await Daemon.start()
  t.teardown(async () => await daemon.destroy())
  const events = await daemon.events()
  await daemon.post('/containers', { id: 'stays', bundle: await daemon.bundle('trap', trap(0)) })
  const waiting = daemon.get('/containers/stays/wait')
  await daemon.get('/version')
  const began = Date.now()
  t.equal(await daemon.stop(), 0)
  t.ok(Date.now() - began < 5000, 'at once')
  t.match(await waiting, { status: 503, body: { code: 'not_ready' } })
  t.match((await events.type('Bye')).data, { reason: 'shutdown' })
  t.equal((await daemon.shims()).length, 1)
  await daemon.launch()
  t.match((await daemon.get('/containers/stays')).body, { status: 'running' })
})

t.test('a client generated from openapi.yaml does the main job', async (t) => {
  const { createClient } = await import('@hey-api/openapi-ts')
  const output = await mkdtemp(join(tmpdir(), 'longshore-client-'))
  t.teardown(async () => await rm(output, { recursive: true, force: true }))
  await createClient({ input: join(project, 'openapi.yaml'), output: { path: output, importFileExtension: '.ts' }, plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'], logs: { level: 'silent' } } as Parameters<typeof createClient>[0])
  await writeFile(join(output, 'package.json'), '{"type":"module"}')
  const sdk = await import(join(output, 'sdk.gen.ts'))
  const { client } = await import(join(output, 'client.gen.ts'))

  const daemon = await Daemon.start(['--listen', '127.0.0.1:0'])
  t.teardown(async () => await daemon.destroy())
  const address = /"address":"([^"]+)"/.exec(daemon.output)?.[1] ?? ''
  client.setConfig({ baseUrl: `http://${address}`, auth: () => /(lsh_[\w-]+)/.exec(daemon.output)?.[1] ?? '' })
  const bundle = await daemon.bundle('trap', trap(42))
  const path = { id: 'made' }
  const created = await sdk.createContainer({ body: { id: 'made', bundle } })
  t.match(created.data, { id: 'made', status: 'running' })
  // An operation of several media types is generated as a plain request; the client's own SSE reader is for this one.
  const stream = await client.sse.get({ url: '/events', query: { from: 'earliest', container: ['made'] }, security: [{ scheme: 'bearer', type: 'http' }] })
  await daemon.trapped('made')
  t.equal((await sdk.stopContainer({ path, body: { timeout: 30 } })).data.exit.status, 42)
  let exit
  for await (const event of stream.stream) {
    if (event.type === 'StateExit') {
      exit = event
      break
    }
  }
  t.match(exit, { containerId: 'made', exit: { status: 42, reason: 'exited' } })
  t.match((await sdk.waitContainer({ path })).data, { status: 42 })
  t.equal((await sdk.deleteContainer({ path })).response.status, 204)
  t.match((await sdk.getContainer({ path })).error, { code: 'container_not_found' })
})
