type Created = { readonly createdAt: string, readonly id: string }

/** Sorts and pages alike: by time of creation, and of one moment by id. */
export function creationKey ({ createdAt, id }: Created): string {
  return `${createdAt} ${id}`
}

/**
 * The order of creationKey(). Those that are known stand in the order in which their creation ended, which is not quite that in
 * which it began; Array.sort() needs about one comparison for each where that is nearly so.
 */
export function byCreation (one: Created, other: Created): number {
  if (one.createdAt !== other.createdAt) return one.createdAt < other.createdAt ? -1 : 1
  return one.id < other.id ? -1 : one.id > other.id ? 1 : 0
}
