import { LongshoreError } from '../errors.ts'

type Order<T> = {
  key: (item: T) => string
  order?: 'up' | 'down'
  /** which of them are in the list; asked only as far as the page goes, so that a page costs the same however long the list is */
  wanted?: (item: T) => boolean
}

/** One page of a list that is sorted by `key`, upwards or downwards, after the item whose key the cursor holds, whether that one is still there or not. */
export function paginate<T> (items: Iterable<T>, { key, order = 'up', wanted = () => true }: Order<T>, limit = 100, cursor?: string): { items: T[], nextCursor: string | null } {
  let after: string | undefined
  if (cursor !== undefined) {
    after = Buffer.from(cursor, 'base64url').toString()
    if (after === '' || Buffer.from(after).toString('base64url') !== cursor) throw new LongshoreError('invalid_cursor', 'give `nextCursor` of the page before as it is')
  }
  const page: T[] = []
  for (const item of items) {
    if (after !== undefined && (order === 'up' ? key(item) <= after : key(item) >= after)) continue
    if (!wanted(item)) continue
    const last = page.at(-1)
    if (page.length === limit && last !== undefined) return { items: page, nextCursor: Buffer.from(key(last)).toString('base64url') }
    page.push(item)
  }
  return { items: page, nextCursor: null }
}
