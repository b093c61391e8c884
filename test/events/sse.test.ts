import fc from 'fast-check'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import t from 'tap'
import { SseParser } from '../../src/client/sse.ts'
import { Entry } from '../../src/events/entry.ts'
import { bookmark, controlFrame, eventFrame, heartbeat, retry } from '../../src/events/sse.ts'
import { event } from './support.ts'

/** What a standard client makes of bytes that come in pieces. */
function received (pieces: Uint8Array[]): { events: EventSourceMessage[], ids: string[], retries: number[], comments: string[], errors: Error[] } {
  const got = { events: [] as EventSourceMessage[], ids: [] as string[], retries: [] as number[], comments: [] as string[], errors: [] as Error[] }
  const parser = createParser({
    onEvent: (one) => got.events.push(one),
    onId: (id) => got.ids.push(id),
    onRetry: (wait) => got.retries.push(wait),
    onComment: (text) => got.comments.push(text),
    onError: (error) => got.errors.push(error)
  })
  const decoder = new TextDecoder()
  for (const piece of pieces) parser.feed(decoder.decode(piece, { stream: true }))
  return got
}

const nasty = fc.string({ unit: fc.oneof(fc.constantFrom('\n', '\r', '\r\n', '\0', ':', ' ', '\u2028', '\u2029', '\ufeff', '\ud800', '\udfff', 'data:', '\n\nid: 9\n', '"', '\\', '}', '😀'), fc.string({ unit: 'binary', maxLength: 3 })) })

t.test('any string in any field comes back the same, through a standard parser, cut anywhere', async (t) => {
  const arbitrary = fc.record({
    containerId: nasty,
    runId: nasty,
    processId: nasty,
    requestId: nasty,
    taskId: nasty,
    labels: fc.dictionary(nasty, nasty, { noNullPrototype: true }),
    error: fc.record({ code: nasty, detail: nasty })
  })
  fc.assert(fc.property(fc.array(arbitrary, { minLength: 1, maxLength: 4 }), fc.array(fc.nat()), (given, cuts) => {
    const entries = given.map((more, index) => {
      const whole = event({ type: 'StateExit', ...more })
      return new Entry('k3v9', index + 1, whole.type, whole.containerId, JSON.stringify(whole.labels), JSON.stringify(whole).slice(1))
    })
    const bytes = Buffer.concat(entries.map((entry) => entry.bytes('sse')))
    const places = [...new Set(cuts.map((cut) => cut % bytes.length))].sort((a, b) => a - b)
    const pieces = [0, ...places].map((place, index) => bytes.subarray(place, places[index]))
    const { events, errors } = received(pieces)
    if (errors.length > 0) return false
    const same = events.length === given.length && events.every((one, index) => {
      const expected = JSON.parse(entries[index]?.json ?? '')
      return one.id === `k3v9:${index + 1}` && one.event === 'StateExit' && JSON.stringify(JSON.parse(one.data)) === JSON.stringify(expected) &&
        well(JSON.parse(one.data).requestId) === well(given[index]?.requestId ?? '') && JSON.stringify(Object.entries(JSON.parse(one.data).labels)) === JSON.stringify(Object.entries(given[index]?.labels ?? {}))
    })
    const lines = Buffer.concat(entries.map((entry) => entry.bytes('ndjson'))).toString().split('\n')
    return same && lines.length === given.length + 1 && lines.slice(0, -1).every((line, index) => line === entries[index]?.json)
  }), { numRuns: 300 })
  t.pass('300 streams')
})

/** Lone surrogates come back too, since JSON escapes them. */
function well (text: string): string {
  return JSON.stringify(text)
}

const seams = ['\n', '\r', '\r\n', '\n\n', '\0', '\ud800', '\udfff', '😀', 'é', '\u2028', ':', '"', '\\', 'data: x', '\n\nid: 9\nevent: Gap\n', '\ufeff']

function entryOf (seq: number, more: object): Entry {
  const whole = event({ type: 'StateExit', ...more })
  return new Entry('k3v9', seq, whole.type, whole.containerId, JSON.stringify(whole.labels), JSON.stringify(whole).slice(1))
}

/** What comes of bytes that are cut at these places: through a standard parser, and through the one of our client. */
function readings (bytes: Buffer, cuts: number[]): string[] {
  const places = [...new Set(cuts)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b)
  const pieces = [0, ...places].map((place, index) => bytes.subarray(place, places[index]))
  const { events, errors } = received(pieces)
  const parser = new SseParser()
  const decoder = new TextDecoder()
  const ours = pieces.flatMap((piece) => [...parser.push(decoder.decode(piece, { stream: true }))])
  return [JSON.stringify([...events.map(({ id, event, data }) => [id, event, data]), ...errors.map(String)]), JSON.stringify(ours.map(({ id, event, data }) => [id, event, data]))]
}

const wanted = (entries: Entry[]): string => JSON.stringify(entries.map(({ id, json }) => [id, 'StateExit', json]))

t.test('cut at every byte into two, and into single bytes: the same events', async (t) => {
  const entries = [entryOf(1, { containerId: seams.join(''), labels: { [seams.join('a')]: seams.join('b') } }), entryOf(2, { requestId: 'é\r\n\0' }), entryOf(3, {})]
  const bytes = Buffer.concat(entries.map((entry) => entry.bytes('sse')))
  const expected = wanted(entries)
  const wrong: number[] = []
  for (let cut = 0; cut <= bytes.length; cut++) if (readings(bytes, [cut]).some((reading) => reading !== expected)) wrong.push(cut)
  t.same(wrong, [], `${bytes.length} places`)
  t.ok(readings(bytes, [...bytes.keys()]).every((reading) => reading === expected), 'byte by byte')
})

t.test('megabytes in any field, cut at random and wherever it could hurt', async (t) => {
  const fields = ['containerId', 'requestId', 'taskId', 'key', 'value'] as const
  let most = 0
  fc.assert(fc.property(fc.constantFrom(...fields), fc.array(fc.constantFrom(...seams, 'plain text '), { minLength: 3, maxLength: 40 }), fc.integer({ min: 1_000_000, max: 2_500_000 }), fc.array(fc.nat(), { minLength: 5, maxLength: 40 }), (field, parts, length, cuts) => {
    const unit = parts.join('')
    const text = unit.repeat(Math.ceil(length / unit.length))
    const big = field === 'key' || field === 'value' ? { labels: field === 'key' ? { [text]: '' } : { big: text } } : { [field]: text }
    const entries = [entryOf(1, { requestId: unit }), entryOf(2, big), entryOf(3, {})]
    const frames = entries.map((entry) => entry.bytes('sse'))
    const bytes = Buffer.concat(frames)
    most = Math.max(most, bytes.length)
    // Around the ends of lines and frames, and inside of what takes several bytes.
    const lines = [...bytes.keys()].filter((at) => bytes[at] === 10)
    const wide = bytes.findIndex((byte, at) => byte > 0xc0 && at > (frames[0]?.length ?? 0))
    const near = [...lines, wide].flatMap((at) => [at - 1, at, at + 1, at + 2])
    const expected = wanted(entries)
    const read = entries.every((entry) => JSON.stringify(JSON.parse(entry.json)) === entry.json)
    const back = JSON.parse(entries[1]?.json ?? '') as { labels: Record<string, string> } & Record<string, string>
    const same = well(field === 'key' ? Object.keys(back.labels)[0] ?? '' : field === 'value' ? back.labels.big ?? '' : back[field] ?? '') === well(text)
    return read && same && readings(bytes, [...near, ...cuts.map((cut) => cut % bytes.length)]).every((reading) => reading === expected)
  }), { numRuns: 12 })
  t.ok(most > 1_000_000, `up to ${(most / 1e6).toFixed(1)} MB`)
})

t.test('a stream cut at every byte: whole events before the cut, nothing of the one it went through', async (t) => {
  const entries = [1, 2, 3].map((seq) => new Entry('k3v9', seq, 'StateOOM', 'wéb', '{}', `"type":"StateOOM","containerId":"wéb\\n${seq}"}`))
  const bytes = Buffer.concat(entries.map((entry) => entry.bytes('sse')))
  const ends = entries.map((_, index) => Buffer.concat(entries.slice(0, index + 1).map((entry) => entry.bytes('sse'))).length)
  const wrong: number[] = []
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { events } = received([bytes.subarray(0, cut)])
    const whole = ends.filter((end) => end <= cut).length
    if (events.length !== whole) wrong.push(cut)
  }
  t.same(wrong, [])
})

t.test('an id or a type cannot begin a line of its own', async (t) => {
  fc.assert(fc.property(nasty, nasty, (id, type) => {
    const { events } = received([Buffer.from(eventFrame(id, type, '{}'))])
    return events.length === 1 && events[0]?.data === '{}' && events[0].id === Buffer.from(id.replace(/[\r\n\0]/g, '')).toString() &&
      (events[0].event ?? '') === Buffer.from(type.replace(/[\r\n\0]/g, '')).toString()
  }), { numRuns: 300 })
  t.pass('300 pairs')
})

t.test('what is not in the journal moves no cursor; a bookmark moves it and fires no event', async (t) => {
  const { events, ids, errors, comments } = received([Buffer.from(controlFrame('Gap', { reason: 'a\nb' }) + bookmark('k3v9:7') + controlFrame('Bye', {}) + heartbeat.toString())])
  t.same(events.map(({ id, event }) => [id, event]), [[undefined, 'Gap'], [undefined, 'Bye']])
  t.same(JSON.parse(events[0]?.data ?? ''), { reason: 'a\nb' })
  t.same(ids, ['k3v9:7'])
  t.same(errors, [])
  t.equal(comments.length, 1)
})

t.test('the wait before coming back differs from reader to reader', async (t) => {
  const { retries } = received(Array.from({ length: 100 }, () => Buffer.from(retry())))
  t.equal(retries.length, 100)
  t.ok(retries.every((wait) => wait >= 1000 && wait <= 4000))
  t.ok(new Set(retries).size > 80)
})
