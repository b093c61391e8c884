import t from 'tap'
import fc from 'fast-check'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LogRecord } from '../../src/runtime/log-format.ts'
import { LogReader } from '../../src/runtime/log-reader.ts'
import { endOnDisk } from '../../src/runtime/log-segments.ts'
import { streamLog, type LogEnd } from '../../src/runtime/log-stream.ts'
import { placeOfBytes, placeOfTail } from '../../src/runtime/log-tail.ts'
import { LogWriter } from '../support/log-writer.ts'

const directory = await mkdtemp(join(tmpdir(), 'longshore-log-'))
t.teardown(async () => await rm(directory, { recursive: true, force: true }))

let count = 0
const writer = (segmentBytes = 1000): LogWriter => new LogWriter(join(directory, String(count++)), segmentBytes)
const all = (): boolean => true

async function readAll (log: LogWriter, from = 0, options: { end?: number, settled?: boolean, skip?: number } = {}): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const { end = await endOnDisk(log.directory), settled = true, skip = 0 } = options
  for await (const portion of streamLog({ directory: log.directory }, { offset: from, skip }, { until: { end, ended: settled }, follow: false, signal: new AbortController().signal })) records.push(...copies(portion))
  return records
}

/** Bytes hold until the next read: what is looked at later is a copy. */
const copies = (records: LogRecord[]): LogRecord[] => records.map((record) => (record.kind === 'output' ? { ...record, bytes: Buffer.from(record.bytes) } : record))

const text = (records: LogRecord[]): string => records.map((record) => (record.kind === 'output' ? record.bytes.toString() : `<${record.reason} ${record.bytes}>`)).join('')

t.test('records come over segments as they were written, from any record on', async (t) => {
  const log = writer(100)
  for (let i = 0; i < 50; i++) await log.write(1 + i % 2, `line ${i}\n`)
  const records = await readAll(log)
  t.equal(text(records), Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join(''))
  t.ok(log.starts.length > 5)
  for (const [i, record] of records.entries()) {
    t.match(record, { kind: 'output', stream: i % 2 === 0 ? 'stdout' : 'stderr', timeNs: 1_700_000_000_000_000_000n + BigInt(i) * 1_000_000_000n })
    t.equal(text(await readAll(log, record.next)), text(records.slice(i + 1)))
  }
})

t.test('a record that is longer than what is read at once comes whole', async (t) => {
  const log = writer()
  const long = Buffer.alloc(300_000, 'x')
  await log.write(1, 'before')
  await log.write(1, long)
  await log.write(1, 'after')
  t.same((await readAll(log)).map((record) => record.kind === 'output' && record.bytes.length), [6, 300_000, 5])
})

t.test('what was rotated away is told once, with its size; a segment that is open is read to its end', async (t) => {
  const log = writer(100)
  for (let i = 0; i < 20; i++) await log.write(1, `line ${i}\n`)
  const reader = new LogReader(log.directory, 0)
  t.teardown(async () => await reader.close())
  const end = log.offset
  const first = copies(await reader.read(end, true))
  const dropped = log.starts[3] ?? 0
  for (let i = 0; i < 3; i++) await log.drop()
  const rest: LogRecord[] = []
  for (let records = await reader.read(end, true); records.length > 0; records = await reader.read(end, true)) rest.push(...copies(records))
  const position = first.at(-1)?.next ?? 0
  t.match(rest[0], { kind: 'lost', reason: 'rotated', start: position, next: dropped, bytes: dropped - position })
  t.equal(text(first) + text(rest.slice(1)), text(first) + text(await readAll(log, dropped)))
  t.same(rest.filter(({ kind }) => kind === 'lost').length, 1)
})

t.test('damage is told and left behind; what the disk cut short is told by the shim alone', async (t) => {
  const damaged = writer(100)
  await damaged.write(1, 'whole\n')
  await damaged.raw(Buffer.from('this is no record at all'))
  await damaged.segment()
  await damaged.write(1, 'after\n')
  t.equal(text(await readAll(damaged)), 'whole\n<damaged 24>after\n')

  const torn = writer(100)
  await torn.write(1, 'whole\n')
  const whole = torn.offset
  await torn.write(1, 'never seen in full')
  const tail = torn.offset
  const { truncate } = await import('node:fs/promises')
  await truncate(torn.path, tail - 5)
  torn.offset = tail - 5
  t.equal(text(await readAll(torn, 0, { settled: false })), 'whole\n', 'of a log that is being written, the rest may still come')
  t.equal(text(await readAll(torn)), `whole\n<damaged ${tail - 5 - whole}>`, 'of one that is not, it never will')
  await torn.segment()
  await torn.lost(18)
  await torn.write(2, 'after\n')
  t.equal(text(await readAll(torn)), 'whole\n<disk 18>after\n')
})

t.test('an empty log, and one that is not there', async (t) => {
  t.same(await readAll(writer()), [])
  const log = writer()
  await log.segment()
  t.same(await readAll(log), [])
  t.same(await placeOfTail(log.directory, 0, 5, all), { offset: 0, skip: 0 })
})

t.test('tail finds the last lines whatever the records and segments', async (t) => {
  await fc.assert(fc.asyncProperty(
    fc.array(fc.record({ stream: fc.constantFrom(1, 2), text: fc.array(fc.constantFrom('a', 'b', '\n'), { maxLength: 12 }).map((parts) => parts.join('')) }), { maxLength: 30 }),
    fc.integer({ min: 0, max: 8 }), fc.constantFrom(1, 60, 10_000), fc.constantFrom('stdout', 'both'),
    async (records, lines, segmentBytes, stream) => {
      const log = writer(segmentBytes)
      await log.segment()
      for (const record of records) await log.write(record.stream, record.text)
      const keep = (record: LogRecord): boolean => stream === 'both' || (record.kind === 'output' && record.stream === stream)
      const { offset, skip } = await placeOfTail(log.directory, log.offset, lines, keep)
      const got = text((await readAll(log, offset, { skip })).filter(keep))
      const whole = records.filter((record) => stream === 'both' || record.stream === 1).map((record) => record.text).join('')
      const split = whole.split('\n')
      const ended = split.at(-1) === ''
      const wanted = lines === 0 ? '' : split.slice(-(lines + (ended ? 1 : 0))).join('\n')
      await rm(log.directory, { recursive: true, force: true })
      return got === wanted
    }), { numRuns: 150 })
  const log = writer(100)
  for (let i = 0; i < 30; i++) await log.write(1, '0123456789')
  for (const [bytes, records] of [[0, 0], [1, 1], [10, 1], [11, 2], [300, 30], [1000, 30]] as const) {
    const { offset } = await placeOfBytes(log.directory, log.offset, bytes)
    t.equal((await readAll(log, offset)).length, records, `${bytes} bytes`)
  }
})

t.test('a follower reads on as the log grows, and ends with it, with its shim, or when it is told to', async (t) => {
  const log = writer(100)
  let ended = false
  let wake: () => void = () => {}
  const grown = async (): Promise<void> => await new Promise((resolve) => { wake = resolve })
  const source = {
    directory: log.directory,
    follow: async (offset: number, signal?: AbortSignal): Promise<LogEnd> => {
      signal?.addEventListener('abort', () => wake())
      while (log.offset <= offset && !ended) {
        signal?.throwIfAborted()
        await grown()
      }
      return { end: log.offset, ended }
    }
  }
  await log.segment()
  const stop = new AbortController()
  const got: string[] = []
  const seen = async (what: number): Promise<void> => { while (got.length < what) await new Promise((resolve) => setImmediate(resolve)) }
  const reading = (async () => {
    for await (const records of streamLog(source, { offset: 0, skip: 0 }, { follow: true, signal: stop.signal })) got.push(...records.map((record) => text([record])))
  })()
  for (let i = 0; i < 20; i++) {
    await log.write(1, `${i}`)
    wake()
    await seen(i + 1)
  }
  await log.write(1, 'last')
  ended = true
  wake()
  await reading
  t.same(got, [...Array.from({ length: 20 }, (_, i) => `${i}`), 'last'])

  ended = false
  const aborted = streamLog(source, { offset: log.offset, skip: 0 }, { follow: true, signal: stop.signal }).next()
  await new Promise((resolve) => setImmediate(resolve))
  stop.abort()
  t.same(await aborted, { done: true, value: undefined })

  const gone = streamLog({ directory: log.directory, follow: async (offset: number) => ({ end: offset, ended: true }) }, { offset: 0, skip: 0 }, { follow: true, until: { end: 0, ended: false }, signal: new AbortController().signal })
  const rest: string[] = []
  for await (const records of gone) rest.push(...records.map((record) => text([record])))
  t.equal(rest.length, 21, 'what is on disk is all there will be')
})

t.test('a log that is damaged or cut from outside while it is followed: what is missing is told, and nobody asks again and again', async (t) => {
  const { truncate, writeFile } = await import('node:fs/promises')
  const log = writer(100_000)
  let wake: () => void = () => {}
  let asked = 0
  const source = {
    directory: log.directory,
    follow: async (offset: number, signal?: AbortSignal): Promise<LogEnd> => {
      asked++
      signal?.addEventListener('abort', () => wake())
      while (log.offset <= offset) {
        signal?.throwIfAborted()
        await new Promise<void>((resolve) => { wake = resolve })
      }
      return { end: log.offset, ended: false }
    }
  }
  await log.segment()
  const stop = new AbortController()
  const got: string[] = []
  const seen = async (what: string): Promise<void> => { while (!got.join('').endsWith(what)) await new Promise((resolve) => setImmediate(resolve)) }
  const reading = (async () => {
    for await (const records of streamLog(source, { offset: 0, skip: 0 }, { follow: true, signal: stop.signal })) got.push(...records.map((record) => text([record])))
  })()
  await log.write(1, 'one')
  wake()
  await seen('one')
  // Emptied by somebody, as log files are: the shim goes on behind what is there, by its own count.
  await truncate(log.path, 0)
  await log.write(1, 'two')
  wake()
  await seen('<damaged 19>')
  await log.write(1, 'three')
  wake()
  await seen('<damaged 21>')
  // What is no record is not waited for either.
  const before = log.offset
  await writeFile(log.path, Buffer.alloc(before + 40, 0xff))
  log.offset = before + 40
  wake()
  await seen('<damaged 40>')
  await log.segment()
  await log.write(1, 'four')
  wake()
  await seen('four')
  t.same(got, ['one', '<damaged 19>', '<damaged 21>', '<damaged 40>', 'four'])
  for (let turns = 0; turns < 200; turns++) await new Promise((resolve) => setImmediate(resolve))
  t.ok(asked <= 6, `asked ${asked} times`)
  stop.abort()
  wake()
  await reading
})
