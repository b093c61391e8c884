import { LongshoreError } from '../errors.ts'
import { eventTypes } from '../schemas/index.ts'
import type { Entry } from './entry.ts'

export type FilterInput = { container?: string[], type?: string[], label?: string[] }

/** Decides which events a reader gets; repeated values of one parameter are alternatives, of different ones must all match. Labels must all match. */
export class Filter {
  readonly #containers: Set<string> | undefined
  readonly #types: Set<string> | undefined
  readonly #labels: { key: string, value: string | undefined }[]

  constructor (input: FilterInput) {
    const unknown = input.type?.find((type) => !(eventTypes as readonly string[]).includes(type))
    if (unknown !== undefined) {
      throw new LongshoreError('bad_request', `there is no event type ${JSON.stringify(unknown)}`, { extra: { errors: [{ field: 'type', rule: `must be one of ${eventTypes.join(', ')}` }] } })
    }
    this.#containers = input.container === undefined ? undefined : new Set(input.container)
    this.#types = input.type === undefined ? undefined : new Set(input.type)
    this.#labels = (input.label ?? []).map((label) => {
      const at = label.indexOf('=')
      return at === -1 ? { key: label, value: undefined } : { key: label.slice(0, at), value: label.slice(at + 1) }
    })
  }

  /** true when every event matches */
  get open (): boolean {
    return this.#containers === undefined && this.#types === undefined && this.#labels.length === 0
  }

  /** the one container that can match, for the journal's index */
  get container (): string | undefined {
    return this.#containers?.size === 1 ? [...this.#containers][0] : undefined
  }

  matches (entry: Entry): boolean {
    return (this.#containers === undefined || this.#containers.has(entry.containerId)) &&
      (this.#types === undefined || this.#types.has(entry.type)) &&
      labelsMatch(this.#labels, entry.labels)
  }
}

export function labelsMatch (wanted: { key: string, value: string | undefined }[], labels: Record<string, string>): boolean {
  return wanted.every(({ key, value }) => Object.hasOwn(labels, key) && (value === undefined || labels[key] === value))
}
