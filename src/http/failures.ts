/** wrong tokens of one address at once, and how many a second come back */
const burst = 20
const rate = 1
/** addresses and good clients that are remembered; the oldest go first */
const remembered = 10_000

/** Counts wrong tokens by address, so that guessing is slow for who guesses and for nobody else. */
export class Failures {
  readonly #counts = new Map<string, { count: number, at: number }>()
  readonly #good = new Set<string>()

  /**
   * Seconds that this address has to wait; 0 when it may try. Who has shown the same credential here before, and it was
   * good, goes on: clients behind one proxy, or on one machine, share an address with whoever guesses beside them.
   */
  wait (address: string, credential: string): number {
    if (this.#good.has(`${network(address)} ${credential}`)) return 0
    return this.#count(network(address)) >= burst ? 1 / rate : 0
  }

  failed (address: string): void {
    const key = network(address)
    const count = this.#count(key) + 1
    this.#counts.delete(key)
    this.#counts.set(key, { count, at: Date.now() })
    if (this.#counts.size > remembered) this.#counts.delete(this.#counts.keys().next().value ?? '')
  }

  succeeded (address: string, credential: string): void {
    const key = `${network(address)} ${credential}`
    if (this.#good.has(key)) return
    this.#good.add(key)
    if (this.#good.size > remembered) this.#good.delete(this.#good.keys().next().value ?? '')
  }

  #count (key: string): number {
    const { count, at } = this.#counts.get(key) ?? { count: 0, at: 0 }
    return Math.max(0, count - (Date.now() - at) / 1000 * rate)
  }
}

/** An IPv6 host has a whole /64 to call from. */
function network (address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) groups.push(...Array<string>(8 - groups.length - (tail === '' ? 0 : tail.split(':').length)).fill('0'))
  return groups.slice(0, 4).join(':')
}
