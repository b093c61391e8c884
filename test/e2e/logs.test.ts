import t from 'tap'
import { Daemon, type Reply } from '../support/daemon.ts'

const daemon = await Daemon.start()
t.teardown(async () => await daemon.destroy())

/** Runs a shell script as a container, to its end. */
async function ran (id: string, script: string): Promise<string> {
  const bundle = await daemon.bundle(id, ['/bin/sh', '-c', script])
  const { body } = await daemon.post('/containers', { id, bundle })
  await daemon.get(`/containers/${id}/wait`)
  return body.runId
}

const lines = (reply: Reply): any[] => reply.text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line)) // any: the wire
const ndjson = { accept: 'application/x-ndjson' }

t.test('text, JSON lines and Server-Sent Events of a container that has ended', async (t) => {
  const runId = await ran('plain', 'echo one; echo two >&2; printf "\\377\\000bin\\n"; printf "no end"')
  const text = await daemon.get('/containers/plain/logs')
  t.equal(text.status, 200)
  t.match(text.headers, { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' })
  t.match(text.headers['x-request-id'], /./)

  const records = lines(await daemon.get('/containers/plain/logs', ndjson))
  const of = (stream: string): Buffer => Buffer.concat(records.filter((record) => record.stream === stream).map(({ data, base64 }) => (data === undefined ? Buffer.from(base64, 'base64') : Buffer.from(data))))
  t.same(of('stdout'), Buffer.concat([Buffer.from('one\n'), Buffer.from([0xff, 0]), Buffer.from('bin\nno end')]))
  t.same(of('stderr'), Buffer.from('two\n'))
  for (const record of records) t.match(record, { type: 'output', id: `${runId}:${record.offset}`, time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/ })

  t.equal((await daemon.get('/containers/plain/logs?stream=stderr')).text, 'two\n')
  t.equal((await daemon.get('/containers/plain/processes/init/logs?stream=stderr&timestamps=true')).text.slice(30), ' two\n')

  const sse = await daemon.get('/containers/plain/logs', { accept: 'text/event-stream' })
  const frames = sse.text.split('\n\n').map((frame) => Object.fromEntries(frame.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(': ') + 2)])))
  t.same(frames.filter(({ data, event }) => data !== undefined && event === undefined).map(({ data = '' }) => JSON.parse(data)), records)
  t.match(frames.find(({ event }) => event === 'End'), { id: records.at(-1).id })
  const [first, ...rest] = records
  t.same(lines(await daemon.get('/containers/plain/logs?tail=1', { ...ndjson, 'last-event-id': first.id })), rest, 'resumed after an id, which wins over tail')
  t.same(lines(await daemon.get(`/containers/plain/logs?lastEventId=${first.id}`, ndjson)), rest)
})

t.test('tail, since and until', async (t) => {
  await ran('lines', 'i=0; while [ $i -lt 40 ]; do echo "line $i"; i=$((i+1)); done')
  t.equal((await daemon.get('/containers/lines/logs?tail=3')).text, 'line 37\nline 38\nline 39\n')
  t.equal((await daemon.get('/containers/lines/logs?tail=0')).text, '')
  t.equal((await daemon.get('/containers/lines/logs?tail=100')).text.split('\n').length, 41)
  const records = lines(await daemon.get('/containers/lines/logs', ndjson))
  t.equal(records.map(({ data }) => data).join(''), (await daemon.get('/containers/lines/logs?tail=all')).text)
  const { time } = records.at(-1)
  t.same(lines(await daemon.get(`/containers/lines/logs?since=${time}`, ndjson)), records.filter((record) => record.time >= time))
  t.same(lines(await daemon.get(`/containers/lines/logs?until=${time}`, ndjson)), records.filter((record) => record.time <= time))
  t.equal((await daemon.get(`/containers/lines/logs?until=${time}&follow=true&tail=1`)).text, 'line 39\n', 'a follower whose time has passed')
  t.equal((await daemon.get('/containers/lines/logs?since=4000000000')).text, '')
  t.equal((await daemon.get('/containers/lines/logs?since=1.5&tail=1')).text, 'line 39\n')
})

t.test('what cannot be is refused before the stream begins', async (t) => {
  await ran('refuse', 'true')
  for (const query of ['tail=-1', 'tail=x', 'tail=100001', 'since=yesterday', 'until=2026-13-01T00:00:00Z', 'stream=stdin', 'stream=stdout,', 'follow=maybe', 'color=red', 'runId=zz', 'lastEventId=x:1']) {
    t.match((await daemon.get(`/containers/refuse/logs?${query}`)), { status: 400, body: { code: 'bad_request', errors: [{ field: new RegExp(query.split('=')[0] ?? '') }] } }, query)
  }
  t.match(await daemon.get('/containers/refuse/logs', { 'last-event-id': 'nonsense' }), { status: 400 })
  t.match(await daemon.get('/containers/refuse/logs', { accept: 'image/png' }), { status: 406, body: { code: 'not_acceptable' } })
  t.match(await daemon.get('/containers/nobody/logs'), { status: 404, body: { code: 'container_not_found' } })
  t.match(await daemon.get('/containers/refuse/processes/nobody/logs'), { status: 404, body: { code: 'process_not_found' } })
  t.match(await daemon.get(`/containers/refuse/logs?runId=${'0'.repeat(20)}`), { status: 404, body: { code: 'run_not_found' } })
})

t.test('each run has a log of its own, and the last ones are kept', async (t) => {
  const runs = [await ran('again', 'echo $RANDOM$RANDOM')]
  const texts = [(await daemon.get('/containers/again/logs')).text]
  for (let i = 0; i < 3; i++) {
    runs.push((await daemon.post('/containers/again/start')).body.runId)
    await daemon.get('/containers/again/wait')
    texts.push((await daemon.get('/containers/again/logs')).text)
  }
  t.equal((await daemon.get(`/containers/again/logs?runId=${runs[1]}`)).text, texts[1])
  t.equal((await daemon.get(`/containers/again/logs?runId=${runs[2]}`)).text, texts[2])
  t.equal((await daemon.get(`/containers/again/logs?runId=${runs[0]}`)).body.code, 'run_not_found', 'three are kept')
  const lost = lines(await daemon.get('/containers/again/logs', { ...ndjson, 'last-event-id': `${runs[0]}:0` }))
  t.match(lost, [{ type: 'lost', reason: 'run', bytes: null }, { type: 'output', data: texts[3] }], 'one who read a run that is not kept goes on with the latest')
})
