import t from 'tap'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { access, readFile, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Daemon, EventReader, type Reply } from '../support/daemon.ts'

const run = promisify(execFile)
const daemon = await Daemon.start(['--log-segment-bytes', '1048576'])
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

/** An open stream of JSON lines. */
async function stream (path: string): Promise<http.IncomingMessage> {
  const request = http.get({ socketPath: daemon.socket, path, agent: false, headers: ndjson })
  const [response] = await once(request, 'response') as [http.IncomingMessage]
  return response.setEncoding('utf8')
}

async function * records (response: http.IncomingMessage): AsyncGenerator<any, void> { // any: the wire
  let rest = ''
  for await (const chunk of response) {
    const parts = (rest + String(chunk)).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) yield JSON.parse(part)
  }
}

async function collect (response: http.IncomingMessage): Promise<any[]> { // any: the wire
  const all = []
  for await (const record of records(response)) all.push(record)
  return all
}

t.test('a follower hears each line, over kill -9 of the daemon, and the end', async (t) => {
  const bundle = await daemon.bundle('live', ['/bin/sh', '-c', 'i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done'])
  await daemon.post('/containers', { id: 'live', bundle })
  const until = Date.now() / 1000 + 1
  const timed = daemon.get(`/containers/live/logs?follow=true&until=${until}&timestamps=true`)
  const path = '/containers/live/logs?follow=true'
  const before = await new EventReader(daemon.socket, path).open()
  await before.next(({ data }) => data.data?.includes('50\n') === true)
  const first = await timed
  for (const line of first.text.trimEnd().split('\n')) t.ok(Date.parse(line.slice(0, 30)) <= until * 1000, 'nothing after its time')
  await daemon.stop('SIGKILL')
  while (!before.ended) await new Promise((resolve) => before.request.once('close', resolve))
  await daemon.launch(['--log-segment-bytes', '1048576'])
  const after = await new EventReader(daemon.socket, path, { 'last-event-id': before.events.at(-1)?.id ?? '' }).open()
  await after.next(({ event }) => event === 'End', 60)
  const text = [...before.events, ...after.events].map(({ data }) => data.data ?? '').join('')
  t.equal(text, Array.from({ length: 300 }, (_, i) => `${i}\n`).join(''))
  before.close()
  after.close()
})

/** Checks a stream of records of `seq 1 <lines>` piece by piece, so that a gigabyte takes no more memory than a megabyte. */
class Accounts {
  lost = 0
  wrong = 0
  /** the number that has to come next; undefined after a loss, until a line has begun */
  next: number | undefined = 1
  #offset = 0
  /** what is still to come of lines that were begun to be expected */
  #expected = ''
  #rest = ''

  add (record: any): void { // any: the wire
    this.#offset += record.type === 'lost' ? record.bytes : 16 + Buffer.byteLength(record.data)
    if (record.offset !== this.#offset) this.wrong++
    if (record.type === 'lost') {
      this.lost++
      this.next = undefined
      this.#expected = this.#rest = ''
    } else this.#text(record.data)
  }

  #text (text: string): void {
    if (this.next === undefined) {
      // The line in which it begins again is known by the one after it.
      this.#rest += text
      const [, line] = this.#rest.split('\n', 3)
      const begin = this.#rest.indexOf('\n') + 1
      if (line === undefined || !this.#rest.includes('\n', begin)) return
      this.next = Number(line)
      text = this.#rest.slice(begin)
      this.#rest = ''
    }
    while (this.#expected.length < text.length) this.#expected += `${this.next++}\n`
    if (!this.#expected.startsWith(text)) this.wrong++
    this.#expected = this.#expected.slice(text.length)
  }

  /** All that was begun has come. */
  get whole (): boolean {
    return this.#expected === ''
  }
}

async function account (response: http.IncomingMessage): Promise<Accounts> {
  const accounts = new Accounts()
  for await (const record of records(response)) accounts.add(record)
  return accounts
}

t.test('a flood over rotation: every byte is accounted for, for one who follows and for one who sleeps', async (t) => {
  // `make flood` has 120,000,000, which is 1 GB.
  const lines = Number(process.env.LOG_LINES ?? 1_500_000)
  const bundle = await daemon.bundle('flood', ['/bin/sh', '-c', `while [ ! -e /tmp/go ]; do sleep 0.05; done; busybox seq 1 ${lines}`])
  await daemon.post('/containers', { id: 'flood', bundle })
  const [follower, sleeper] = [await stream('/containers/flood/logs?follow=true'), await stream('/containers/flood/logs?follow=true')]
  // proc(5): 5 sets the peak of the resident memory back
  await writeFile(`/proc/${daemon.pid}/clear_refs`, '5')
  const [before, began] = [await residentPeak(), performance.now()]
  await writeFile(join(daemon.directory, 'bundles/flood/rootfs/tmp/go'), '')
  const following = account(follower)
  t.match((await daemon.get('/containers/flood/wait')).body, { status: 0 }, 'the container was not held up by a reader that sleeps')
  const written = performance.now() - began
  for (const [name, accounts] of [['follower', await following], ['sleeper', await account(sleeper)]] as const) {
    t.equal(accounts.wrong, 0, `${name}: offsets and lines follow on one another`)
    t.equal(accounts.next, lines + 1, `${name}: it comes to the end`)
    t.ok(accounts.whole, `${name}: and the last line is whole`)
    if (name === 'sleeper') t.ok(accounts.lost > 0, 'and is told what was written over')
    t.comment(`${name}: ${accounts.lost} gaps`)
  }
  const grown = (await residentPeak() - before) / 1048576
  t.comment(`${lines} lines: written in ${(written / 1000).toFixed(1)} s, followed to the end in ${((performance.now() - began) / 1000).toFixed(1)} s; the daemon had ${(before / 1048576).toFixed(0)} MiB and ${grown.toFixed(0)} MiB more at most`)
  t.ok(grown < 100, `the daemon's memory does not grow with the output (${grown.toFixed(0)} MiB)`)
})

/** bytes of resident memory that the daemon had at most */
async function residentPeak (): Promise<number> {
  return Number(/^VmHWM:\s+(\d+)/m.exec(await readFile(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) * 1024
}

t.test('a full disk holds up nobody; what it cost is told in its place, to the byte', async (t) => {
  const bundle = await daemon.bundle('full', ['/bin/sh', '-c', 'head -c 500000 /dev/zero; touch /tmp/full; while [ ! -e /tmp/room ]; do sleep 0.05; done; echo room; head -c 500000 /dev/zero; echo end'])
  const rootfs = join(daemon.directory, 'bundles/full/rootfs/tmp')
  const { body } = await daemon.post('/containers', { id: 'full', bundle, start: false })
  const directory = join(daemon.root, 'containers/full', body.runId)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', directory])
  t.teardown(async () => await run('umount', ['-l', directory]))
  const follower = collect(await stream('/containers/full/logs?follow=true'))
  await daemon.post('/containers/full/start')
  // It comes this far only if the full disk did not hold it up.
  while (!await access(join(rootfs, 'full')).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 20))
  await run('mount', ['-o', 'remount,size=8m', directory])
  await writeFile(join(rootfs, 'room'), '')
  t.match((await daemon.get('/containers/full/wait')).body, { status: 0 })
  const records = await follower
  const sum = (type: string): number => records.filter((record) => record.type === type).reduce((bytes, { data, bytes: lost }) => bytes + (data === undefined ? lost : Buffer.byteLength(data)), 0)
  t.ok(sum('lost') > 300_000)
  t.equal(sum('output') + sum('lost'), 1_000_000 + 5 + 4)
  t.ok(records.every(({ type, reason }) => type === 'output' || reason === 'disk'))
  const place = records.findLastIndex(({ type }) => type === 'lost')
  t.ok(/^\0*room\n\0{500000}end\n$/.test(records.slice(place + 1).map(({ data }) => data).join('')), 'between what came before and after')
  t.ok(/\[longshore: \d+ bytes of output could not be written to the disk\]\n/.test((await daemon.get('/containers/full/logs')).text))
})
