import type { Epoch } from './journal-protocol.ts'

/** What a reader has missed, as it is told. `lost`: how many events, null when nobody can know. */
export type Gap = { requested: string, firstAvailable: string, lost: number | null, reason: 'retention' | 'epoch' }

/** Where a reader begins: strictly after this sequence number, and what lies between there and where it wanted to. */
export type Position = { after: number, gap?: Gap }

export type Bounds = { epochs: readonly Epoch[], first: number, head: number }

const idPattern = /^([a-z0-9]{1,32}):(0|[1-9]\d{0,15})$/

export function isEventId (text: string): boolean {
  return idPattern.test(text)
}

function current ({ epochs }: Pick<Bounds, 'epochs'>): Epoch {
  return epochs.at(-1) ?? { epoch: '', first: 1 }
}

/** The epoch of an event. */
export function epochOf (bounds: Pick<Bounds, 'epochs'>, seq: number): string {
  return (bounds.epochs.findLast(({ first }) => first <= seq) ?? current(bounds)).epoch
}

/** The id for a place between events: of the newest history that it can belong to, since an older one's id means a gap. */
export function positionId (bounds: Bounds, after: number): string {
  const { epoch, first } = current(bounds)
  return `${after >= first - 1 ? epoch : epochOf(bounds, after)}:${after}`
}

/**
 * The place strictly after an event id (which must be one by its form). A history that has ended may have had events
 * that were lost with it, so its readers are always told of a gap, and go on after what they have.
 */
export function locate (bounds: Bounds, requested: string): Position {
  const { epochs, first, head } = bounds
  const [, epoch, digits] = idPattern.exec(requested) ?? []
  const seq = Number(digits)
  const index = epochs.findIndex((one) => one.epoch === epoch)
  const from = epochs[index]?.first ?? Infinity
  const next = epochs[index + 1]
  const end = next === undefined ? head : next.first - 1
  const position = (after: number, lost: number | null, reason: Gap['reason']): Position =>
    ({ after, gap: { requested, firstAvailable: `${epochOf(bounds, after + 1)}:${after + 1}`, lost, reason } })
  // Of another journal, or a number that this one never gave.
  if (seq < from - 1 || (next === undefined && seq > end)) return position(first - 1, null, 'epoch')
  if (next !== undefined) return position(Math.max(first - 1, Math.min(seq, end)), null, 'epoch')
  if (seq < first - 1) return position(first - 1, first - 1 - seq, 'retention')
  return { after: seq }
}
