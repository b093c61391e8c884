import { LongshoreError } from '../errors.ts'

/** One page of a list that is sorted by `key`, upwards or downwards, after the item whose key the cursor holds, whether that one is still there or not. */
export function paginate<T> (items: T[], key: (item: T) => string, limit = 100, cursor?: string, order: 'up' | 'down' = 'up'): { items: T[], nextCursor: string | null } {
  let rest = items
  if (cursor !== undefined) {
    const after = Buffer.from(cursor, 'base64url').toString()
    if (after === '' || Buffer.from(after).toString('base64url') !== cursor) throw new LongshoreError('invalid_cursor', 'give `nextCursor` of the page before as it is')
    rest = items.filter(order === 'up' ? (item) => key(item) > after : (item) => key(item) < after)
  }
  const page = rest.slice(0, limit)
  const last = page.at(-1)
  return { items: page, nextCursor: rest.length > limit && last !== undefined ? Buffer.from(key(last)).toString('base64url') : null }
}
