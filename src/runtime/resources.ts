import { readFile } from 'node:fs/promises'
import { LongshoreError } from '../errors.ts'
import { resourceFields, resourceType, type ResourceGroup, type ResourcesPatchView, type ResourcesView } from '../schemas/index.ts'

type Loose = Record<string, Record<string, unknown> | null | undefined>

const groupNames = Object.keys(resourceFields) as ResourceGroup[]

function eachField (visit: (group: ResourceGroup, field: string) => void): void {
  for (const group of groupNames) for (const field of resourceFields[group]) visit(group, field)
}

/** What is known of `linux.resources` of a config.json; values of another type are left out, the runtime judges them. */
export function knownResources (given: unknown): ResourcesView {
  const known: Loose = {}
  eachField((group, field) => {
    const value = (given as Loose | undefined | null)?.[group]?.[field]
    const fits = resourceType(group, field) === 'string' ? typeof value === 'string' && value !== '' : Number.isSafeInteger(value)
    if (fits) known[group] = { ...known[group], [field]: value }
  })
  return known as ResourcesView
}

/** Two merge patches, one after the other, as one; nulls are kept, since there may be something below to clear. */
export function composePatches (first: ResourcesPatchView, second: ResourcesPatchView): ResourcesPatchView {
  const both: Loose = {}
  eachField((group, field) => {
    const [one, two] = [(first as Loose)[group], (second as Loose)[group]]
    const value = two === null ? null : two?.[field] !== undefined ? two[field] : one === null ? null : one?.[field]
    if (value !== undefined) both[group] = { ...both[group], [field]: value }
  })
  return both as ResourcesPatchView
}

/** Resources (or the whole `linux.resources` of a config.json) with a merge patch laid over them (RFC 7396). */
export function patchResources<T extends object> (resources: T, patch: ResourcesPatchView): T {
  const patched: Loose = { ...resources as Loose }
  for (const group of groupNames) {
    const change = (patch as Loose)[group]
    if (change === undefined) continue
    const entries = change === null ? [] : Object.entries({ ...patched[group], ...change }).filter(([, value]) => value !== null)
    if (entries.length === 0) delete patched[group]
    else patched[group] = Object.fromEntries(entries)
  }
  return patched as T
}

/** The numbers in a list such as `0-2,7` (cpuset(7), "List format"). */
export function parseList (text: string): Set<number> {
  const numbers = new Set<number>()
  for (const part of text.trim().split(',')) {
    if (part === '') continue
    const [first = 0, last = first] = part.split('-').map(Number)
    // A range that is larger than any machine is not spelled out.
    for (let number = first; number <= Math.min(last, first + 65_536); number++) numbers.add(number)
  }
  return numbers
}

function refuse (field: string, rule: string): never {
  throw new LongshoreError('invalid_resources', `resources.${field} ${rule}`, { extra: { errors: [{ field: `resources.${field}`, rule }] } })
}

async function online (what: 'cpu' | 'node'): Promise<string> {
  return await readFile(`/sys/devices/system/${what}/online`, 'utf8').then((text) => text.trim(), () => (what === 'node' ? '0' : ''))
}

/** Throws invalid_resources for what neither kernel nor runtime could take, or would take for something else. */
export async function checkResources ({ memory, cpu, pids }: ResourcesView): Promise<void> {
  // For runc and crun 0 is "leave as it is".
  for (const [field, value] of [['memory.limit', memory?.limit], ['memory.reservation', memory?.reservation], ['memory.swap', memory?.swap], ['pids.limit', pids?.limit], ['cpu.quota', cpu?.quota]] as const) {
    if (value === 0) refuse(field, 'must not be 0; -1 is no limit, and null clears it')
  }
  if (cpu?.quota !== undefined && cpu.quota > 0 && cpu.quota < 1000) refuse('cpu.quota', 'must be at least 1000 microseconds')
  const { limit = -1, swap = -1, reservation = -1 } = memory ?? {}
  if (swap !== -1 && limit === -1) refuse('memory.swap', 'needs a memory.limit: it is the bound of both together; clear it too')
  if (swap !== -1 && swap < limit) refuse('memory.swap', 'must be at least memory.limit: it is the bound of both together')
  if (reservation !== -1 && limit !== -1 && reservation > limit) refuse('memory.reservation', 'must not be more than memory.limit')
  for (const [field, value, what] of [['cpu.cpus', cpu?.cpus, 'cpu'], ['cpu.mems', cpu?.mems, 'node']] as const) {
    if (value === undefined) continue
    const there = await online(what)
    const missing = [...parseList(value)].filter((number) => there !== '' && !parseList(there).has(number))
    if (missing.length > 0) refuse(field, `has ${missing.slice(0, 4).join(', ')}, which is not online here (${there} is)`)
  }
}

/**
 * What to ask of a runtime's `update`, so that what was as in `before` is as `wanted` after `patch`. Settings that depend
 * on one another go together: the kernel takes memory and swap, and quota and period, in one order only, which runtimes
 * know. What is cleared gets the kernel's default; `inherited` has that of cpus and mems.
 */
export function updateOf (patch: ResourcesPatchView, before: ResourcesView, wanted: ResourcesView, inherited: { cpus: string, mems: string }): ResourcesView {
  const touched = (group: ResourceGroup, field: string): boolean => {
    const change = (patch as Loose)[group]
    return change === null || change?.[field] !== undefined
  }
  const defaults: Record<string, Record<string, unknown>> = {
    memory: { limit: -1, reservation: -1, swap: -1 },
    cpu: { shares: 1024, quota: -1, period: 100_000, cpus: inherited.cpus, mems: inherited.mems },
    pids: { limit: -1 }
  }
  const together: [ResourceGroup, string[]][] = [['memory', ['limit', 'reservation', 'swap']], ['cpu', ['quota', 'period']]]
  const update: Loose = {}
  eachField((group, field) => {
    const fellows = together.find(([of, names]) => of === group && names.includes(field))?.[1] ?? [field]
    if (!fellows.some((name) => touched(group, name))) return
    const cleared = (before as Loose)[group]?.[field] !== undefined || (fellows.length > 1 && group === 'cpu')
    const value = (wanted as Loose)[group]?.[field] ?? (cleared ? defaults[group]?.[field] : undefined)
    if (value !== undefined && value !== '') update[group] = { ...update[group], [field]: value }
  })
  return update as ResourcesView
}
