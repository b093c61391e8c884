import { Type, type Static } from 'typebox'

const Id = Type.String({ description: 'The run and the offset, as `<runId>:<offset>`: with it as `Last-Event-ID` a reader goes on after this' })
const Offset = Type.Integer({ minimum: 0, description: 'Where to go on after this, in bytes of the log (which has 16 bytes of header for each record)' })

export const OutputRecord = Type.Object({
  type: Type.Literal('output'),
  id: Id,
  offset: Offset,
  time: Type.String({ format: 'date-time', description: 'When it was read from the process, with nanoseconds' }),
  stream: Type.Enum(['stdout', 'stderr'], { description: 'A process with a terminal has only stdout' }),
  data: Type.Optional(Type.String({ description: 'What the process wrote at once, which may be many lines or part of one' })),
  base64: Type.Optional(Type.String({ description: 'Instead of `data` where the bytes are not UTF-8' }))
}, { $id: 'OutputRecord', additionalProperties: false })

export const LostRecord = Type.Object({
  type: Type.Literal('lost'),
  id: Id,
  offset: Offset,
  time: Type.Optional(Type.String({ format: 'date-time' })),
  bytes: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], { description: 'How many; for `rotated` and `damaged` in bytes of the log, null when that is not known' }),
  reason: Type.Enum(['disk', 'rotated', 'damaged', 'run'], { description: 'disk: it could not be written. rotated: the log went on over it before it was read. damaged: the file does not hold what was written. run: the log of that run is not kept any more' })
}, { $id: 'LostRecord', additionalProperties: false })

export type OutputView = Static<typeof OutputRecord>
export type LostView = Static<typeof LostRecord>

const Run = Type.Optional(Type.String({ pattern: '^[0-9a-f]{20}$', description: 'Of this run; by default of the latest' }))

export const LogsQuery = Type.Object({
  stream: Type.Optional(Type.Array(Type.String({ pattern: '^(stdout|stderr)(,(stdout|stderr))*$' }), { maxItems: 2, description: '`stdout`, `stderr`, or both with a comma or by repeating it; both by default' })),
  tail: Type.Optional(Type.String({ pattern: '^(all|[0-9]{1,5}|100000)$', default: 'all', description: 'Begin with the last so many lines (at most 100000), or `all`' })),
  since: Type.Optional(Type.String({ maxLength: 64, description: 'Not before: RFC 3339, or seconds since 1970, which may have a fraction' })),
  until: Type.Optional(Type.String({ maxLength: 64, description: 'Not after: as `since`; a reader that follows ends then' })),
  follow: Type.Optional(Type.Boolean({ default: false, description: 'Go on until the output has ended' })),
  timestamps: Type.Optional(Type.Boolean({ default: false, description: 'Of text: each line begins with its time, RFC 3339 with nanoseconds, and a space' })),
  runId: Run,
  lastEventId: Type.Optional(Type.String({ maxLength: 64, description: 'As the header Last-Event-ID (which wins over it), for clients that cannot set it on their first connection' }))
}, { additionalProperties: false })
export type LogsQuery = Static<typeof LogsQuery>

export const AttachQuery = Type.Object({
  tail: Type.Optional(Type.Integer({ minimum: 0, maximum: 100_000, description: 'Begin with the last so many lines' })),
  tailBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: 262_144, description: 'Begin with the last so many bytes, or a little before; 65536 when neither this nor `tail` nor `offset` is given' })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'Begin at this `offset`, as a `position` told it' })),
  runId: Run
}, { additionalProperties: false })
export type AttachQuery = Static<typeof AttachQuery>
