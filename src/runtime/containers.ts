import type { Container } from './container.ts'

type Created = Pick<Container, 'createdAt' | 'id'>

/** What a list of containers is paged by: the time of creation and, of one moment, the id. */
export function creationKey ({ createdAt, id }: Created): string {
  return `${createdAt} ${id}`
}

function precedes (one: Created, other: Created): boolean {
  return one.createdAt < other.createdAt || (one.createdAt === other.createdAt && one.id < other.id)
}

/**
 * Containers by their ids, in the order of creationKey() whatever the order in which they are added: one is known only when the runtime
 * has made it, and of several at once the quicker one comes first. They are put in order here, so that no list has to be.
 */
export class Containers extends Map<string, Container> {
  /** the latest that was added; it may have gone */
  #last: Created | undefined

  override set (id: string, container: Container): this {
    const later = this.#last !== undefined && precedes(container, this.#last) ? [...this.values()].filter((one) => precedes(container, one)) : []
    if (later.length === 0) this.#last = container
    super.set(id, container)
    for (const one of later) {
      this.delete(one.id)
      super.set(one.id, one)
    }
    return this
  }
}
