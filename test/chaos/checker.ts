/** What may be seen of a daemon, and what may not: a simple model, and everything in a record that breaks it. */
import type { EventView, ExitView } from '../../src/schemas/index.ts'

/** One request of a client and what came of it; without an answer the daemon died meanwhile, and both outcomes are possible. */
export type Operation = {
  verb: 'create' | 'start' | 'signal' | 'stop' | 'delete' | 'wait' | 'get'
  id: string
  answer?: { status: number, body: any } // any: the wire, as a client sees it
}

/** What was done to a run from outside the API. */
export type Fault = { kind: 'daemon' | 'shim' | 'init' | 'runtime', runId?: string }

export type History = {
  /** the journal, from its first event on, read at the end */
  journal: EventView[]
  /** what each reader of the stream was sent, over all its reconnections */
  readers: EventView[][]
  operations: Operation[]
  faults: Fault[]
  /** exit status that the command of a container ends with by itself; null: it does not end */
  ownStatus: (id: string) => number | null
  /** what was found at the end, when every container had been deleted */
  leftovers: string[]
}

export type Verdict = { lost: string[], duplicate: string[], invented: string[], disordered: string[], leaked: string[] }

const before = ['StateCreate', 'StateStart', 'StateOOM', 'StateExit', 'StateDelete']
const sequence = (event: EventView): number => Number(event.id.split(':')[1])

export function check (history: History): Verdict {
  const verdict: Verdict = { lost: [], duplicate: [], invented: [], disordered: [], leaked: [...history.leftovers] }
  checkSequence(history, verdict)
  for (const reader of history.readers) checkReader(history.journal, reader, verdict)
  const runs = Map.groupBy(history.journal.filter(({ runId }) => runId !== undefined), ({ runId }) => runId ?? '')
  for (const [runId, events] of runs) checkRun(runId, events, history, verdict)
  checkAnswers(history, runs, verdict)
  return verdict
}

function checkSequence ({ journal }: History, verdict: Verdict): void {
  for (const [index, event] of journal.entries()) {
    const previous = journal[index - 1]
    if (previous === undefined) continue
    const step = sequence(event) - sequence(previous)
    if (step > 1) verdict.lost.push(`${step - 1} events between ${previous.id} and ${event.id}`)
    if (step < 1) verdict.duplicate.push(`${event.id} after ${previous.id}`)
  }
}

/** A reader has seen a part of the journal, whole and as it is. */
function checkReader (journal: EventView[], reader: EventView[], verdict: Verdict): void {
  const [first] = reader
  if (first === undefined) return
  const from = journal.findIndex(({ id }) => id === first.id)
  if (from === -1) {
    verdict.invented.push(`a reader saw ${first.id}, which is not in the journal`)
    return
  }
  const expected = journal.slice(from)
  const seen = new Map<string, number>()
  for (const { id } of reader) seen.set(id, (seen.get(id) ?? 0) + 1)
  for (const [id, times] of seen) if (times > 1) verdict.duplicate.push(`a reader saw ${id} ${times} times`)
  for (const { id } of expected) if (!seen.has(id)) verdict.lost.push(`a reader never saw ${id}`)
  const known = new Map(expected.map((event) => [event.id, JSON.stringify(event)]))
  for (const event of reader) {
    if (!known.has(event.id)) verdict.invented.push(`a reader saw ${event.id}, which is not in the journal`)
    else if (known.get(event.id) !== JSON.stringify(event)) verdict.invented.push(`a reader saw another ${event.id} than the journal has`)
  }
  for (let index = 1; index < reader.length; index++) {
    const [one, other] = [reader[index - 1], reader[index]]
    if (one !== undefined && other !== undefined && sequence(one) > sequence(other)) verdict.disordered.push(`a reader saw ${other.id} after ${one.id}`)
  }
}

function checkRun (runId: string, events: EventView[], history: History, verdict: Verdict): void {
  const types = events.map(({ type }) => type)
  const name = `${events[0]?.containerId ?? ''} (${runId}): ${types.join(' ')}`
  for (const type of ['StateCreate', 'StateStart', 'StateStartFailed', 'StateExit', 'StateDelete']) {
    if (types.filter((one) => one === type).length > 1) verdict.duplicate.push(`${type} twice: ${name}`)
  }
  const places = types.filter((type) => before.includes(type)).map((type) => before.indexOf(type))
  if (places.some((place, index) => place < (places[index - 1] ?? 0))) verdict.disordered.push(name)
  const ended = types.includes('StateExit') || types.includes('StateStartFailed')
  if (types.includes('StateStart') && !ended) verdict.lost.push(`the exit of ${name}`)
  if (types.includes('StateExit') && types.includes('StateStartFailed')) verdict.invented.push(`two ends: ${name}`)
  const exit = events.find(({ type }) => type === 'StateExit')?.exit
  const id = events[0]?.containerId ?? ''
  if (exit !== undefined && !possible(exit, types.includes('StateStart') ? history.ownStatus(id) : unstarted, id, runId, history)) verdict.invented.push(`exit ${JSON.stringify(exit)} of ${name}`)
}

/** Before its start init is runc's own program, in Go: a signal that cannot end the first process of a pid namespace makes that exit with 2. */
const unstarted = 2

/** Could this exit be true? */
function possible (exit: ExitView, own: number | null, id: string, runId: string, { operations, faults }: History): boolean {
  if (exit.reason === 'exited') return exit.status === own
  const hit = faults.some((fault) => fault.runId === runId)
  if (exit.status === null) return exit.reason === 'monitor-lost' && hit
  if (exit.reason === 'monitor-lost' && !hit) return false
  if (exit.status === own) return true
  // Somebody has to have sent the signal.
  const asked = operations.some((one) => one.id === id && ['signal', 'stop', 'delete', 'create', 'start'].includes(one.verb))
  return exit.signal !== null && exit.status > 128 && (hit || asked)
}

/** What clients were told agrees with the journal. */
function checkAnswers ({ operations, journal }: History, runs: Map<string, EventView[]>, verdict: Verdict): void {
  const deletes = Map.groupBy(journal.filter(({ type }) => type === 'StateDelete'), ({ containerId }) => containerId)
  const told = Map.groupBy(operations.filter(({ verb, answer }) => verb === 'delete' && answer?.status === 204), ({ id }) => id)
  for (const [id, answers] of told) {
    const count = deletes.get(id)?.length ?? 0
    if (answers.length > count) verdict.lost.push(`${id} was said to be deleted ${answers.length} times, and was ${count} times`)
  }
  for (const { verb, id, answer } of operations) {
    if (answer === undefined || answer.status >= 500) continue
    const { body } = answer
    if ((verb === 'create' || verb === 'start') && answer.status < 300) {
      const types = runs.get(body.runId)?.map(({ type }) => type) ?? []
      const needed = verb === 'start' || body.status === 'running' ? 'StateStart' : 'StateCreate'
      if (!types.includes(needed)) verdict.lost.push(`${verb} of ${id} was answered with run ${body.runId}, and there is no ${needed}`)
    }
    const exits = verb === 'wait' && answer.status === 200 ? [body] : body?.exit != null ? [body.exit] : []
    for (const exit of exits) {
      const same = journal.some((event) => event.containerId === id && event.exit !== undefined && sameExit(event.exit, exit))
      if (!same) verdict.invented.push(`${verb} of ${id} was answered with an exit that no event has: ${JSON.stringify(exit)}`)
    }
  }
}

function sameExit (one: ExitView, other: ExitView): boolean {
  return (['status', 'signal', 'oomKilled', 'reason', 'exitedAt', 'outputComplete'] as const).every((name) => one[name] === other[name])
}
