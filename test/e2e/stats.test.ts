/** What real containers use: samples, streams, metrics and the list of processes. */
import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Daemon, EventReader, trap } from '../support/daemon.ts'

const MiB = 1024 * 1024
const limited = (config: any): void => { config.linux.resources = { ...config.linux.resources, memory: { limit: 64 * MiB }, pids: { limit: 50 } } } // any: see makeBundle

/** The first lines of an answer that does not end by itself. */
async function lines (daemon: Daemon, path: string, count: number): Promise<any[]> { // any: the wire
  const request = http.get({ socketPath: daemon.socket, path, headers: { accept: 'application/x-ndjson' }, agent: false })
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk
    if (text.split('\n').length > count) break
  }
  request.destroy()
  return text.split('\n').slice(0, count).map((line) => JSON.parse(line))
}

t.test('samples, streams, metrics, processes', async (t) => {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  await mkdir(daemon.root, { recursive: true })
  await writeFile(join(daemon.root, 'tokens.json'), JSON.stringify({ tokens: [{ id: 'a', name: 'web', scope: 'read', token: 'lsh_web', createdAt: '', labels: { app: 'web' } }] }), { mode: 0o600 })
  await daemon.launch(['--metrics-containers', '2', '--listen', '127.0.0.1:0'])
  const bundle = await daemon.bundle('trap', trap(6), limited)
  const { body } = await daemon.post('/containers', { id: 'one', bundle, labels: { app: 'web' } })
  await daemon.post('/containers', { id: 'two', bundle, labels: { app: 'db' } })
  await daemon.post('/containers', { id: 'three', bundle, start: false, labels: { app: 'web' } })
  await daemon.post('/containers', { id: 'ended', bundle: await daemon.bundle('true', ['/bin/true']) })
  await daemon.get('/containers/ended/wait')

  await t.test('one sample', async (t) => {
    const { status, headers, body: stats } = await daemon.get('/containers/one/stats')
    t.equal(status, 200)
    t.match(headers['content-type'], /^application\/json/)
    t.match(stats, { containerId: 'one', runId: body.runId, cpu: { percent: null }, memory: { limit: 64 * MiB }, pids: { limit: 50 }, oomKills: 0, network: { rxBytes: 0 } })
    t.match(stats.network.interfaces, [{ name: 'lo' }], "of the container's own namespace")
    t.ok(stats.cpu.totalNs > 0 && stats.cpu.userNs >= 0 && stats.cpu.systemNs >= 0)
    t.ok(stats.memory.usage > 0 && stats.memory.workingSet > 0 && stats.memory.workingSet <= stats.memory.usage)
    t.ok(stats.pids.current >= 1 && stats.pids.current < 50)
    const { cpu } = (await daemon.get('/containers/one/stats?interval=0.2')).body
    t.ok(cpu.percent >= 0 && cpu.windowSeconds >= 0.09, 'with an interval there is a per cent')
    t.ok(cpu.totalNs >= stats.cpu.totalNs)
    t.equal((await daemon.get('/containers/three/stats')).status, 200, 'one that is created has an init already')
    t.match((await daemon.get('/containers/ended/stats')), { status: 409, body: { code: 'container_not_running' } })
    t.match((await daemon.get('/containers/nobody/stats')), { status: 404, body: { code: 'container_not_found' } })
    t.match((await daemon.get('/containers/one/stats', { accept: 'text/plain' })), { status: 406, body: { code: 'not_acceptable' } })
    for (const interval of ['0.01', 'x', '61']) t.match((await daemon.get(`/containers/one/stats?interval=${interval}`)), { status: 400, body: { code: 'bad_request' } }, interval)
  })

  await t.test('all that have processes, in pages and filtered', async (t) => {
    const ids = async (query: string): Promise<string[]> => (await daemon.get(`/stats?${query}`)).body.items.map(({ containerId }: any) => containerId) // any: the wire
    t.same(await ids(''), ['one', 'two', 'three'])
    t.same(await ids('label=app=web'), ['one', 'three'])
    t.same(await ids('status=running'), ['one', 'two'])
    t.same(await ids('status=created&status=stopped'), ['three'])
    const first = (await daemon.get('/stats?limit=2')).body
    t.same(first.items.length, 2)
    t.same(await ids(`limit=2&cursor=${first.nextCursor}`), ['three'])
    t.equal((await daemon.get('/stats?cursor=%21')).body.code, 'invalid_cursor')
  })

  await t.test('streams', async (t) => {
    const all = await lines(daemon, '/stats?interval=0.1&label=app', 7)
    t.same(all.map(({ containerId }) => containerId), ['one', 'two', 'three', 'one', 'two', 'three', 'one'], 'round after round')
    t.ok(all[3].timestamp > all[0].timestamp)
    t.ok(all[3].cpu.totalNs >= all[0].cpu.totalNs)

    await daemon.post('/containers', { id: 'brief', bundle })
    const stream = await new EventReader(daemon.socket, '/containers/brief/stats?interval=0.1').open()
    t.match((await stream.type('Stats')).data, { containerId: 'brief', memory: { limit: 64 * MiB } })
    await daemon.post('/containers/brief/pause')
    const paused = stream.events.length
    await stream.next(() => stream.events.length > paused)
    await daemon.delete('/containers/brief?force=true')
    t.match((await stream.type('Bye')).data, { reason: 'stopped' }, 'it ends with its container')
  })

  await t.test('metrics, bounded', async (t) => {
    const { text, headers } = await daemon.get('/metrics')
    t.match(headers['content-type'], /^text\/plain/)
    t.match(text, /^longshore_container_memory_usage_bytes\{container="one"\} [1-9]\d*$/m)
    t.match(text, /^longshore_container_cpu_seconds_total\{container="two"\} \d/m)
    t.notMatch(text, 'container="three"')
    t.match(text, /^longshore_containers_omitted 1$/m)
    t.match(text, /^longshore_containers\{status="running"\} 2$/m)
    t.same([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name).filter((name, index, names) => names.indexOf(name) !== index), [], 'each family once')
  })

  await t.test('a token sees its own', async (t) => {
    const address = /"address":"([^"]+)"/.exec(daemon.output)?.[1] ?? ''
    const get = async (path: string): Promise<Response> => await fetch(`http://${address}${path}`, { headers: { authorization: 'Bearer lsh_web', accept: 'application/json' } })
    t.match(await (await get('/stats')).json(), { items: [{ containerId: 'one' }, { containerId: 'three' }] })
    const metrics = await (await get('/metrics')).text()
    t.match(metrics, 'container="one"')
    t.notMatch(metrics, 'container="two"')
    t.equal((await get('/containers/two/stats')).status, 404)
    t.equal((await get('/containers/two/top')).status, 404)
  })

  await t.test('the processes, by both their pids', async (t) => {
    const { body: list, status } = await daemon.get('/containers/one/top')
    t.equal(status, 200)
    t.match(list.items[0], { pid: body.pid, containerPid: 1, processId: 'init', name: 'sh', args: trap(6), uid: 0, gid: 0, threads: 1 })
    t.ok(list.items[0].rss > 0)
    t.ok(Math.abs(Date.parse(list.items[0].startedAt) - Date.parse(body.startedAt)) < 60_000)
    t.equal(list.items[0].state.length, 1)
    t.equal((await readFile(`/proc/${list.items[0].parentPid}/comm`, 'utf8')).trim(), 'longshore-shim')
    // Its sleep comes and goes.
    let child: any // any: the wire
    while (child === undefined) child = (await daemon.get('/containers/one/top')).body.items.find(({ name }: any) => name === 'sleep') // any: the wire
    t.match(child, { parentPid: body.pid, processId: null, args: ['sleep', '1'] })
    t.ok(child.containerPid > 1)
    const exec = (await daemon.post('/containers/one/processes', { id: 'nap', args: ['/bin/sleep', '1000'] })).body
    const listed = (await daemon.get('/containers/one/top')).body.items.find(({ pid }: any) => pid === exec.pid) // any: the wire
    t.match(listed, { processId: 'nap', args: ['/bin/sleep', '1000'] }, 'an exec goes by its id')
    t.ok(listed.containerPid > 1)
    t.equal((await daemon.get('/containers/one/top?limit=1')).body.items.length, 1)
    t.match((await daemon.get('/containers/ended/top')), { status: 409, body: { code: 'container_not_running' } })
  })

  const last = await new EventReader(daemon.socket, '/stats?interval=3600').open()
  await last.type('Stats')
  await daemon.stop()
  t.match((await last.type('Bye')).data, { reason: 'shutdown' }, 'a daemon that stops says so')
  await daemon.launch()
  t.match((await daemon.get('/containers/one/stats')).body, { containerId: 'one', memory: { limit: 64 * MiB } }, 'the next one goes on')
})
