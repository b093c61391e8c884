import type { Append } from './journal-protocol.ts'

/** bounds of what is kept in memory; past them the store is asked, as for any run that is not known */
const maxRuns = 20_000
const maxOfRun = 2000

/** What may be told of a run only once: the rule of the store's unique indexes, known without asking it. */
function keysOf ({ type, runId, processId, exit }: Append): string[] {
  const keys: string[] = []
  if (runId !== null) {
    if (type === 'StateCreate' || type === 'StateDelete') keys.push(type)
    if (processId !== null && (type === 'StateStart' || type === 'StateStartFailed' || type === 'StateExit')) keys.push(`${type} ${processId}`)
  }
  if (exit !== undefined) keys.push(`exit ${exit.processId}`)
  return keys
}

/** An event as it was told, without what the store refused of it: it counts neither for its run nor as an exit. */
export function toldOnly ({ time, type, containerId, labels, body }: Append): Append {
  return { time, type, containerId, runId: null, processId: null, labels, body }
}

/** The runs of which everything that was ever told is known here. */
export class Once {
  readonly #runs = new Map<string, Set<string>>()

  /** True only when the store would surely take all of these rows. */
  allows (rows: Append[]): boolean {
    const seen = new Set<string>()
    return rows.every((row) => keysOf(row).every((key) => {
      const run = this.#runs.get(row.exit?.runId ?? row.runId ?? '')
      const own = `${row.runId} ${key}`
      if (run === undefined || run.has(key) || seen.has(own)) return false
      seen.add(own)
      return true
    }))
  }

  /** These are in the journal. A run is known from its creation on; its deletion is the last thing that is told of it. */
  note (rows: Append[]): void {
    for (const row of rows) {
      const { runId, type } = row
      if (runId === null) continue
      if (type === 'StateCreate') this.#begin(runId)
      const run = this.#runs.get(runId)
      for (const key of run === undefined ? [] : keysOf(row)) run?.add(key)
      if (type === 'StateDelete' || (run?.size ?? 0) > maxOfRun) this.#runs.delete(runId)
    }
  }

  /** All that is kept of a run. Of one whose creation has gone out of the journal more may have gone. */
  learn (runId: string, events: { type: string, processId?: string }[]): void {
    if (!events.some(({ type }) => type === 'StateCreate')) return
    // What was noted while they were asked for stays.
    const run = this.#runs.get(runId) ?? this.#begin(runId)
    for (const { type, processId } of events) {
      run.add(type)
      if (processId !== undefined) run.add(`${type} ${processId}`)
      if (processId !== undefined && (type === 'StateExit' || type === 'StateStartFailed')) run.add(`exit ${processId}`)
    }
  }

  #begin (runId: string): Set<string> {
    const run = new Set<string>()
    this.#runs.delete(runId)
    this.#runs.set(runId, run)
    const [oldest] = this.#runs.keys()
    if (this.#runs.size > maxRuns && oldest !== undefined) this.#runs.delete(oldest)
    return run
  }
}
