import { Type, type Static, type TSchema } from 'typebox'
import { nullable, nullableInteger, ref } from './common.ts'

const count = (description: string): ReturnType<typeof nullableInteger> => nullableInteger({ description })
const nullableNumber = (description: string): ReturnType<typeof Type.Unsafe<number | null>> => Type.Unsafe<number | null>({ type: ['number', 'null'], description })
const orNull = <T extends TSchema>(schema: T): ReturnType<typeof Type.Unsafe<Static<T> | null>> => Type.Unsafe<Static<T> | null>({ oneOf: [schema, { type: 'null' }] })

const io = {
  readBytes: Type.Integer(),
  writeBytes: Type.Integer(),
  readOps: Type.Integer(),
  writeOps: Type.Integer()
}
const traffic = {
  rxBytes: Type.Integer(),
  rxPackets: Type.Integer(),
  rxErrors: Type.Integer(),
  rxDropped: Type.Integer(),
  txBytes: Type.Integer(),
  txPackets: Type.Integer(),
  txErrors: Type.Integer(),
  txDropped: Type.Integer()
}
const stall = Type.Object({
  avg10: Type.Number({ description: 'Per cent of the last 10 seconds' }),
  avg60: Type.Number(),
  avg300: Type.Number(),
  totalUs: Type.Integer({ description: 'Microseconds in all' })
}, { additionalProperties: false })
const Pressure = Type.Object({ some: stall, full: orNull(stall) }, { $id: 'Pressure', additionalProperties: false, description: 'How long some, or all, of its processes waited (psi.rst)' })

export const Stats = Type.Object({
  containerId: Type.String(),
  runId: Type.String(),
  timestamp: Type.String({ format: 'date-time', description: 'When it was read' }),
  cpu: Type.Object({
    totalNs: count('Nanoseconds of CPU time'),
    userNs: count('Of these, in user mode'),
    systemNs: count('Of these, in the kernel'),
    percent: nullableNumber('Of one CPU, since the sample before (100 is one CPU kept busy); null in the first sample'),
    windowSeconds: nullableNumber('The time that `percent` is about'),
    throttling: orNull(Type.Object({
      periods: Type.Integer({ description: 'Periods of the quota that have passed' }),
      throttledPeriods: Type.Integer({ description: 'Of these, those in which it was used up' }),
      throttledNs: Type.Integer({ description: 'Nanoseconds for which it was made to wait' })
    }, { additionalProperties: false }))
  }, { additionalProperties: false }),
  memory: Type.Object({
    usage: count('Bytes, page cache included'),
    workingSet: count('`usage` without the inactive page cache: what cannot be given back at once'),
    limit: count('Bytes; null: no limit'),
    peak: count('The most that `usage` has been'),
    swap: count('Bytes in swap'),
    cache: count('Bytes of page cache'),
    rss: count('Bytes of anonymous memory')
  }, { additionalProperties: false }),
  pids: Type.Object({ current: count('Processes and threads'), limit: count('null: no limit') }, { additionalProperties: false }),
  blockIO: orNull(Type.Object({
    ...io,
    devices: Type.Array(Type.Object({ device: Type.String({ description: '`major:minor`' }), ...io }, { additionalProperties: false }))
  }, { additionalProperties: false, description: 'In sum, and for each device' })),
  network: orNull(Type.Object({
    ...traffic,
    interfaces: Type.Array(Type.Object({ name: Type.String(), ...traffic }, { additionalProperties: false }))
  }, { additionalProperties: false, description: "Of the container's network namespace, loopback apart from the sums; null when it has none of its own" })),
  oomKills: count('Processes that the kernel killed for want of memory'),
  pressure: Type.Object({ cpu: orNull(ref(Pressure)), memory: orNull(ref(Pressure)), io: orNull(ref(Pressure)) }, { additionalProperties: false, description: 'null where the kernel does not tell it' })
}, { $id: 'Stats', additionalProperties: false, description: 'One sample of what a container uses. null: the kernel here does not tell it' })
export type StatsView = Static<typeof Stats>
export type PressureView = Static<typeof Pressure>
export { Pressure }

export const StatsList = Type.Object({ items: Type.Array(ref(Stats)), nextCursor: nullable('string') }, { $id: 'StatsList', additionalProperties: false })

export const HostProcess = Type.Object({
  pid: Type.Integer({ description: 'As the host sees it' }),
  containerPid: count('As the container sees it'),
  parentPid: Type.Integer({ description: 'As the host sees it' }),
  processId: nullable('string', { description: '`init` or the id of an exec, when this is its first process' }),
  name: Type.String({ description: 'The command name, of the kernel' }),
  args: Type.Array(Type.String(), { description: 'The command line, at most 4 KiB of it; empty for a process that has ended and is not yet reaped' }),
  state: Type.String({ description: 'As in proc(5): R running, S sleeping, D waiting for the disk, Z zombie, T stopped, …' }),
  uid: Type.Integer({ description: 'The effective user, as the host sees it' }),
  gid: Type.Integer(),
  threads: Type.Integer(),
  cpuNs: Type.Integer({ description: 'Nanoseconds of CPU time, in steps of 10 ms' }),
  rss: Type.Integer({ description: 'Bytes in memory' }),
  startedAt: Type.String({ format: 'date-time' })
}, { $id: 'HostProcess', additionalProperties: false, description: 'A process of the container, as the kernel lists it' })
export type HostProcessView = Static<typeof HostProcess>

export const HostProcessList = Type.Object({ items: Type.Array(ref(HostProcess)), nextCursor: nullable('string') }, { $id: 'HostProcessList', additionalProperties: false })
