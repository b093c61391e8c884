import { bookmark, controlFrame, eventFrame, heartbeat } from '../../src/events/sse.ts'

/** What one answer of the test server is; a string is a stream of just that, which then ends. */
export type Answer = string | { status?: number, headers?: Record<string, string>, body?: string, break?: boolean }

export type Case = {
  name: string
  /** answers to the first request, the second, and so on; the last one to all that come after */
  answers: Answer[]
  /** messages or errors after which the case is over */
  messages?: number
  errors?: number
  /** names of events to listen to besides `message` */
  names?: string[]
  /** data of the messages, or [event, data, lastEventId] */
  expected?: (string | [string, string, string])[]
  /** readyState at each error: 0 it connects again, 2 it has given up */
  states?: number[]
  /** Last-Event-ID of each request; null where there is none */
  ids?: (string | null)[]
}

const long = 'x'.repeat(3000)
const again = 'retry: 10\n'
const nasty = '\n\nid: 9\n\r\0\u2028\u2029\ufeff😀"\\}data:'
const json = JSON.stringify({ text: nasty, lone: '\ud800' })
const failing = [204, 205, 210, 299, 400, 401, 404, 410, 429, 500, 503]

/** The behaviours of web-platform-tests/eventsource, and the frames that longshore sends. */
export const cases: Case[] = [
  { name: 'data: with, without and with an empty value', answers: ['data:\n\ndata\ndata\n\ndata:test\n\n'], messages: 3, expected: ['', '\n', 'test'] },
  { name: 'a BOM, once and at the start only', answers: ['\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n'], messages: 2, expected: ['1', '3'] },
  { name: 'comments', answers: [`data:1\n:\0\n:\r\ndata:2\n:${long}\ndata:3\n:data:fail\n:${long}\ndata:4\n\n`], messages: 1, expected: ['1\n2\n3\n4'] },
  { name: 'field parsing', answers: ['data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n'], messages: 1, expected: ['\0\n 2\n1\n3\n\n4'] },
  { name: 'unknown fields, and fields without a colon', answers: ['data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n'], messages: 1, expected: ['test\n'] },
  { name: 'leading space', answers: ['data:\ttest\rdata: \ndata:test\n\n'], messages: 1, expected: ['\ttest\n\ntest'] },
  { name: 'line ends of all kinds', answers: ['data:test\r\ndata\ndata:test\r\n\r\ndata:a\r\rdata:b\n\n'], messages: 3, expected: ['test\n\ntest', 'a', 'b'] },
  { name: 'NUL in data', answers: ['data:\0\n\n\n\n'], messages: 1, expected: ['\0'] },
  { name: 'UTF-8', answers: [{ headers: { 'content-type': 'text/event-stream;charset=utf-8' }, body: 'data:ok…😀\n\n' }], messages: 1, expected: ['ok…😀'] },
  { name: 'named events', answers: ['event:test\ndata:x\n\ndata:y\n\nevent: \ndata:z\n\n'], messages: 3, names: ['test'], expected: [['test', 'x', ''], ['message', 'y', ''], ['message', 'z', '']] },
  { name: 'an id stays until there is another', answers: ['id:1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\nid\ndata:d\n\n'], messages: 4, expected: [['message', 'a', '1'], ['message', 'b', '1'], ['message', 'c', '2'], ['message', 'd', '']] },
  { name: 'an id with NUL is none', answers: [`${again}id: a\0b\ndata:a\n\n`, 'data:b\n\n'], messages: 2, expected: [['message', 'a', ''], ['message', 'b', '']], ids: [null, null] },
  { name: 'what the end of the stream cut off is not told, nor its id', answers: [`${again}data:a\n\nid:never\ndata:never`, 'data:b\n\n'], messages: 2, expected: [['message', 'a', ''], ['message', 'b', '']], ids: [null, null] },
  { name: 'it comes back after the end, with the last id', answers: [`${again}id: é…1\ndata:a\n\n`, `${again}data:b\n\n`, 'data:c\n\n'], messages: 3, states: [0, 0], ids: [null, 'é…1', 'é…1'] },
  { name: 'and after a break', answers: [{ body: `${again}id: 1\ndata:a\n\n`, break: true }, 'data:b\n\n'], messages: 2, states: [0], ids: [null, '1'] },
  { name: 'retry with other than digits is ignored', answers: [`${again}\nretry: 3600000x\nretry: -1\nretry: 1e9\ndata:a\n\n`, 'data:b\n\n'], messages: 2, expected: ['a', 'b'] },
  { name: 'a media type with parameters', answers: [{ headers: { 'content-type': 'text/event-stream; charset=utf-8; x=y' }, body: 'data:a\n\n' }], messages: 1, expected: ['a'] },
  ...['text/event-streamfoo', 'text/html', 'application/x-ndjson'].map((type) => ({ name: `${type} is none`, answers: [{ headers: { 'content-type': type }, body: 'data:a\n\n' }], errors: 1, states: [2], ids: [null] })),
  ...failing.map((status) => ({ name: `${status} ends it for good`, answers: [{ status, body: status === 204 || status === 205 ? '' : 'data:a\n\n' }], errors: 1, states: [2], ids: [null] })),
  { name: '204 when it comes back ends it', answers: [`${again}id:1\ndata:a\n\n`, { status: 204, body: '' }], errors: 2, expected: ['a'], states: [0, 2], ids: [null, '1'] },
  ...[301, 302, 303, 307, 308].map((status) => ({ name: `${status} is followed`, answers: [{ status, headers: { location: '?redirected' }, body: '' }, 'data:a\n\n'], messages: 1, expected: ['a'] })),

  { name: 'longshore: any string in any field', answers: [eventFrame('k3v9:1', 'StateExit', json)], names: ['StateExit'], messages: 1, expected: [['StateExit', json, 'k3v9:1']] },
  { name: 'longshore: a bookmark moves the cursor and fires nothing; heartbeats do neither', answers: [`${again}${bookmark('k3v9:7')}${heartbeat.toString()}`, 'data:a\n\n'], messages: 1, expected: [['message', 'a', 'k3v9:7']], states: [0], ids: [null, 'k3v9:7'] },
  { name: 'longshore: Gap, Bye, Snapshot and Ping move no cursor', answers: [`${again}${eventFrame('k3v9:8', 'StateExit', '{}')}${(['Gap', 'Bye', 'Snapshot', 'Ping'] as const).map((name) => controlFrame(name, { name })).join('')}`, 'data:a\n\n'], names: ['StateExit', 'Gap', 'Bye', 'Snapshot', 'Ping'], messages: 6, ids: [null, 'k3v9:8'] }
]

export type Seen = { messages: [string, string, string][], states: number[] }

/** Runs in the page and in Node.js alike, so it uses nothing but the standard. */
export async function watch ({ url, messages = Infinity, errors = Infinity, names = [] }: { url: string, messages?: number | undefined, errors?: number | undefined, names?: string[] | undefined }): Promise<Seen> {
  const { EventSource: Source } = globalThis as unknown as { EventSource: new (url: string) => any } // any: the types of the DOM are not those of this project
  return await new Promise((resolve) => {
    const seen: Seen = { messages: [], states: [] }
    const source = new Source(url)
    const look = (): void => {
      if (seen.messages.length < messages && seen.states.length < errors) return
      source.close()
      resolve(seen)
    }
    const take = ({ type, data, lastEventId }: { type: string, data: string, lastEventId: string }): void => {
      seen.messages.push([type, data, lastEventId])
      look()
    }
    for (const name of ['message', ...names]) source.addEventListener(name, take)
    source.onerror = () => {
      seen.states.push(source.readyState)
      // Nothing comes any more, whatever was waited for.
      if (source.readyState === 2) resolve(seen)
      look()
    }
  })
}
