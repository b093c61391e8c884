import { LongshoreError } from '../errors.ts'
import { eventTypes, idPattern, reasons } from '../schemas/index.ts'
import { labelQuery, labelsMatch, type LabelQuery } from './labels.ts'

/** A filter in words that the journal's thread understands; what is absent does not matter. */
export type FilterQuery = { containers?: string[], types?: string[], labels?: LabelQuery[], reasons?: string[] }

export type FilterInput = { container?: string[], type?: string[], label?: string[], reason?: string[] }

/** What a filter looks at. */
export type Filterable = { readonly type: string, readonly containerId: string, readonly labels: Record<string, string>, readonly reason?: string | undefined }

const idGrammar = new RegExp(idPattern)

/** Decides which events a reader gets: repeated containers, types and reasons are alternatives, of labels all must match. */
export class Filter {
  readonly query: FilterQuery
  /** the same for filters that are the same */
  readonly key: string
  /** true when every event matches */
  readonly open: boolean
  readonly #containers: Set<string> | undefined
  readonly #types: Set<string> | undefined
  readonly #reasons: Set<string> | undefined
  readonly #labels: LabelQuery[]

  /**
   * `selector`: labels that the asker is confined to, as the filter were asked for them. Throws bad_request for an
   * unknown type or reason, an impossible container or a label without a key: such a filter would wait in silence for ever.
   */
  constructor (input: FilterInput, selector: Record<string, string> = {}) {
    const { container, type, label = [], reason } = input
    const unknown = type?.find((one) => !(eventTypes as readonly string[]).includes(one))
    if (unknown !== undefined) throw refused('type', unknown, `must be one of ${eventTypes.join(', ')}`)
    const unheard = reason?.find((one) => !(reasons as readonly string[]).includes(one))
    if (unheard !== undefined) throw refused('reason', unheard, `must be one of ${reasons.join(', ')}`)
    const impossible = container?.find((one) => !idGrammar.test(one))
    if (impossible !== undefined) throw refused('container', impossible, `must match ${idPattern}`)
    const keyless = label.find((one) => one === '' || one.startsWith('='))
    if (keyless !== undefined) throw refused('label', keyless, 'must be key or key=value')
    this.#containers = container === undefined ? undefined : new Set(container)
    this.#types = type === undefined ? undefined : new Set(type)
    this.#reasons = reason === undefined ? undefined : new Set(reason)
    this.#labels = [...label.map(labelQuery), ...Object.entries(selector).map(([key, value]) => ({ key, value }))]
    this.open = container === undefined && type === undefined && reason === undefined && this.#labels.length === 0
    this.query = {
      ...(container === undefined ? {} : { containers: container }),
      ...(type === undefined ? {} : { types: type }),
      ...(reason === undefined ? {} : { reasons: reason }),
      ...(this.#labels.length === 0 ? {} : { labels: this.#labels })
    }
    this.key = JSON.stringify(this.query)
  }

  matches (event: Filterable): boolean {
    return (this.#types === undefined || this.#types.has(event.type)) && this.concerns(event) &&
      (this.#reasons === undefined || (event.reason !== undefined && this.#reasons.has(event.reason)))
  }

  /** True when events of this container could match. */
  concerns (container: Pick<Filterable, 'containerId' | 'labels'>): boolean {
    return (this.#containers === undefined || this.#containers.has(container.containerId)) &&
      (this.#labels.length === 0 || labelsMatch(this.#labels, container.labels))
  }
}

function refused (field: string, value: string, rule: string): LongshoreError {
  return new LongshoreError('bad_request', `${field} ${JSON.stringify(value)} ${rule}`, { extra: { errors: [{ field, rule }] } })
}
