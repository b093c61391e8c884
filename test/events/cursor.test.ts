import t from 'tap'
import { epochOf, isEventId, locate, positionId, type Bounds } from '../../src/events/cursor.ts'
import { Filter } from '../../src/events/filter.ts'
import { preferred } from '../../src/routes/accept.ts'

t.test('what an event id looks like', async (t) => {
  for (const id of ['k3v9:1042', 'a:0', '0123456789abcdef:9007199254740991']) t.ok(isEventId(id), id)
  for (const id of ['', ':', 'k3v9', 'k3v9:', ':1', 'K3V9:1', 'k3v9:-1', 'k3v9:1.0', 'k3v9:01', 'k3v9:1 ', 'k3v9:1\n', 'k3v9:12345678901234567', 'k 3:1']) t.notOk(isEventId(id), JSON.stringify(id))
})

const one: Bounds = { epochs: [{ epoch: 'aa', first: 1 }], first: 11, head: 20 }

t.test('a position in the one history there is', async (t) => {
  t.same(locate(one, 'aa:20'), { after: 20 })
  t.same(locate(one, 'aa:15'), { after: 15 })
  t.same(locate(one, 'aa:10'), { after: 10 }, 'the next one is the first that is kept')
  t.same(locate(one, 'aa:9'), { after: 10, gap: { requested: 'aa:9', firstAvailable: 'aa:11', lost: 1, reason: 'retention' } })
  t.same(locate(one, 'aa:0'), { after: 10, gap: { requested: 'aa:0', firstAvailable: 'aa:11', lost: 10, reason: 'retention' } })
  t.same(locate(one, 'zz:15'), { after: 10, gap: { requested: 'zz:15', firstAvailable: 'aa:11', lost: null, reason: 'epoch' } })
  t.match(locate(one, 'aa:21'), { after: 10, gap: { lost: null, reason: 'epoch' } }, 'a number that was never given')
})

const three: Bounds = { epochs: [{ epoch: 'aa', first: 1 }, { epoch: 'bb', first: 11 }, { epoch: 'cc', first: 21 }], first: 6, head: 25 }

t.test('a position when histories have ended', async (t) => {
  t.same([1, 10, 11, 20, 21, 30].map((seq) => epochOf(three, seq)), ['aa', 'aa', 'bb', 'bb', 'cc', 'cc'])
  t.same(locate(three, 'cc:20'), { after: 20 }, 'the place before its first event')
  t.match(locate(three, 'cc:19'), { after: 5, gap: { reason: 'epoch', lost: null } }, 'it never began so early')
  t.match(locate(three, 'bb:15'), { after: 15, gap: { firstAvailable: 'bb:16', lost: null, reason: 'epoch' } })
  t.match(locate(three, 'bb:20'), { after: 20, gap: { firstAvailable: 'cc:21' } })
  t.match(locate(three, 'bb:99'), { after: 20, gap: { firstAvailable: 'cc:21' } }, 'it had more than is left')
  t.match(locate(three, 'aa:2'), { after: 5, gap: { firstAvailable: 'aa:6', lost: null } })
})

t.test('the id of a position is found again', async (t) => {
  t.equal(positionId(three, 25), 'cc:25')
  t.equal(positionId(three, 20), 'cc:20', 'of the newest history, so that it is no gap')
  t.equal(positionId(three, 15), 'bb:15')
  const empty: Bounds = { epochs: [{ epoch: 'aa', first: 1 }], first: 1, head: 0 }
  t.equal(positionId(empty, 0), 'aa:0')
  t.same(locate(empty, 'aa:0'), { after: 0 })
})

t.test('filters', async (t) => {
  const web = { type: 'StateExit', containerId: 'web', labels: { app: 'shop', tier: '', 'a=b': 'c' } }
  const cases: [object, boolean][] = [
    [{}, true],
    [{ container: ['web'] }, true], [{ container: ['db', 'web'] }, true], [{ container: ['db'] }, false],
    [{ type: ['StateExit'] }, true], [{ type: ['StateOOM', 'StateExit'] }, true], [{ type: ['StateOOM'] }, false],
    [{ label: ['app'] }, true], [{ label: ['app=shop'] }, true], [{ label: ['app=shop', 'tier'] }, true], [{ label: ['tier='] }, true],
    [{ label: ['app='] }, false], [{ label: ['app=shop', 'none'] }, false], [{ label: ['toString'] }, false], [{ label: ['__proto__'] }, false],
    [{ container: ['web'], type: ['StateOOM'] }, false], [{ container: ['web'], type: ['StateExit'], label: ['app'] }, true]
  ]
  for (const [input, expected] of cases) t.equal(new Filter(input).matches(web), expected, JSON.stringify(input))
  t.equal(new Filter({}, { app: 'shop' }).matches(web), true, 'confined to its labels')
  t.equal(new Filter({ container: ['web'] }, { app: 'other' }).matches(web), false)
  t.equal(new Filter({}).open, true)
  t.equal(new Filter({}, { app: 'shop' }).open, false)
  t.equal(new Filter({ type: ['StateOOM'], container: ['web'] }).concerns(web), true)
  for (const [input, field] of [[{ type: ['StateExit', 'exit'] }, 'type'], [{ container: ['a/b'] }, 'container'], [{ label: ['=x'] }, 'label'], [{ label: [''] }, 'label']] as const) {
    t.throws(() => new Filter(input as object), { code: 'bad_request', extra: { errors: [{ field }] } }, JSON.stringify(input))
  }
})

t.test('Accept', async (t) => {
  const [sse, ndjson, json] = ['text/event-stream', 'application/x-ndjson', 'application/json'] as const
  const offered = [sse, ndjson, json] as const
  const cases: [string | undefined, string | undefined][] = [
    [undefined, sse], ['', sse], ['*/*', sse], ['text/*', sse], ['text/event-stream', sse], ['TEXT/Event-Stream', sse],
    ['application/x-ndjson', ndjson], ['application/*', ndjson], ['application/json', json], ['application/json;charset=utf-8', json],
    ['application/json, text/plain, */*', json], ['text/html, */*;q=0.8', sse], ['text/event-stream;q=0, */*', ndjson],
    ['application/json;q=0.5, application/x-ndjson;q=0.4', json], ['application/json;q=0.4 , application/x-ndjson; q=0.5', ndjson],
    ['*/*;q=0', undefined], ['text/html', undefined], ['application/json;q=0', undefined], ['text/*;q=0, text/event-stream', sse], ['application/json;q=x', undefined]
  ]
  for (const [accept, expected] of cases) t.equal(preferred(accept, offered), expected, String(accept))
})
