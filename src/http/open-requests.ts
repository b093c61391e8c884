import type { LongshoreError } from '../errors.ts'

/** What allowed a request: hashes of a token and, for a browser, of a session; with what they allowed then. */
export type Grant = {
  name: string
  scope: 'read' | 'operate' | 'admin'
  labels: Record<string, string> | undefined
  token: string
  session?: { hash: string, createdAt: number, expiresAt: number }
}

/** What an answer goes out on: a socket, or one stream of an HTTP/2 connection. */
export type Carrier = { readonly destroyed: boolean, destroy: () => unknown }

/**
 * Requests that are being answered, each with what allowed it. A stream outlives the moment it was allowed in: when its
 * token is withdrawn or means something else, or its session ends, so does the stream.
 */
export class OpenRequests {
  readonly #open = new Set<OpenRequest>()

  get size (): number {
    return this.#open.size
  }

  add (carrier: Carrier, grant: Grant, containerId?: string): OpenRequest {
    const one = new OpenRequest(carrier, grant, containerId)
    this.#open.add(one)
    return one
  }

  delete (one: OpenRequest): void {
    this.#open.delete(one)
  }

  /** Ends what is allowed no longer. `refusal`: why; undefined while it is allowed. */
  sweep (refusal: (one: OpenRequest) => LongshoreError | undefined): void {
    for (const one of this.#open) {
      // What was moved to another carrier ends without the request hearing of it.
      if (one.carrier.destroyed) {
        this.#open.delete(one)
        continue
      }
      const error = refusal(one)
      if (error === undefined) continue
      this.#open.delete(one)
      if (one.refuse === undefined) one.carrier.destroy()
      else one.refuse(error)
    }
  }
}

export class OpenRequest {
  readonly grant: Grant
  carrier: Carrier
  /** the container that it is about, if it is about one */
  readonly containerId: string | undefined
  /** the answer goes on over another carrier than the request came with */
  moved = false
  /** ends it with an answer, where that has not begun */
  refuse: ((error: LongshoreError) => void) | undefined

  constructor (carrier: Carrier, grant: Grant, containerId: string | undefined) {
    this.carrier = carrier
    this.grant = grant
    this.containerId = containerId
  }

  move (carrier: Carrier): void {
    this.carrier = carrier
    this.moved = true
  }
}
