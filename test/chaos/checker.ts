/** What may be seen of a daemon, and what may not: a simple model, and everything in a record that breaks it. */
import type { EventView, ExitView } from '../../src/schemas/index.ts'

/** One request of a client and what came of it; without an answer the daemon died meanwhile, and both outcomes are possible. */
export type Operation = {
  verb: string
  id: string
  processId?: string
  answer?: { status: number, body: any } // any: the wire, as a client sees it
}

/** What was done to a run from outside the API. */
export type Fault = { kind: 'daemon' | 'daemon at a step' | 'shim' | 'stopped shim' | 'init' | 'runtime', runId?: string }

export type History = {
  /** the journal, from its first event on, read at the end */
  journal: EventView[]
  /** what each reader of the stream was sent, over all its reconnections */
  readers: EventView[][]
  operations: Operation[]
  faults: Fault[]
  /** exit status that a process of a container ends with by itself; null: it does not end */
  ownStatus: (id: string, processId: string) => number | null
  /** what was found at the end, when every container had been deleted */
  leftovers: string[]
}

export type Verdict = { lost: string[], duplicate: string[], invented: string[], disordered: string[], leaked: string[] }

const once = ['StateCreate', 'StateStart', 'StateStartProcess', 'StateStartFailed', 'StateExit', 'StateDelete']
const order = ['StateCreate', 'StateStart', 'StateOOM', 'StateExit', 'StateDelete']
const sequence = (event: EventView): number => Number(event.id.split(':')[1])
const processOf = (event: EventView): string => event.processId ?? 'init'

export function check (history: History): Verdict {
  const verdict: Verdict = { lost: [], duplicate: [], invented: [], disordered: [], leaked: [...history.leftovers] }
  checkSequence(history, verdict)
  for (const reader of history.readers) checkReader(history.journal, reader, verdict)
  const runs = Map.groupBy(history.journal.filter(({ runId }) => runId !== undefined), ({ runId }) => runId ?? '')
  for (const [runId, events] of runs) {
    checkInit(runId, events.filter((event) => processOf(event) === 'init'), history, verdict)
    const execs = Map.groupBy(events.filter((event) => processOf(event) !== 'init'), processOf)
    for (const [processId, own] of execs) checkExec(processId, own, events, history, verdict)
  }
  checkAnswers(history, runs, verdict)
  checkRestarts(history, runs, verdict)
  checkViews(history, verdict)
  return verdict
}

function checkSequence ({ journal }: History, verdict: Verdict): void {
  for (const [index, event] of journal.entries()) {
    const previous = journal[index - 1]
    if (previous === undefined) continue
    const step = sequence(event) - sequence(previous)
    if (step > 1) verdict.lost.push(`${step - 1} events between ${previous.id} and ${event.id}`)
    if (step < 1) verdict.duplicate.push(`${event.id} after ${previous.id}`)
    if (event.id.split(':')[0] !== previous.id.split(':')[0]) verdict.lost.push(`the journal: another epoch begins with ${event.id}`)
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

function checkOnce (types: string[], name: string, verdict: Verdict): void {
  for (const type of once) if (types.filter((one) => one === type).length > 1) verdict.duplicate.push(`${type} twice: ${name}`)
}

function checkInit (runId: string, events: EventView[], history: History, verdict: Verdict): void {
  const types = events.map(({ type }) => type)
  const id = events[0]?.containerId ?? ''
  const name = `${id} (${runId}): ${types.join(' ')}`
  checkOnce(types, name, verdict)
  const places = types.filter((type) => order.includes(type)).map((type) => order.indexOf(type))
  if (places.some((place, index) => place < (places[index - 1] ?? 0))) verdict.disordered.push(name)
  const ended = types.includes('StateExit') || types.includes('StateStartFailed')
  if (types.includes('StateStart') && !ended) verdict.lost.push(`the exit of ${name}`)
  if (types.includes('StateExit') && types.includes('StateStartFailed')) verdict.invented.push(`two ends: ${name}`)
  const exit = events.find(({ type }) => type === 'StateExit')?.exit
  if (exit === undefined) return
  if (exit.oomKilled !== types.includes('StateOOM')) verdict.lost.push(`exit and OOM event disagree: ${name}`)
  const own = types.includes('StateStart') ? history.ownStatus(id, 'init') : unstarted
  if (!possible(exit, own, id, runId, history)) verdict.invented.push(`exit ${JSON.stringify(exit)} of ${name}`)
}

function checkExec (processId: string, own: EventView[], all: EventView[], history: History, verdict: Verdict): void {
  const types = own.map(({ type }) => type)
  const { containerId: id = '', runId = '' } = own[0] ?? {}
  const name = `${processId} of ${id} (${runId}): ${types.join(' ')}`
  checkOnce(types, name, verdict)
  const [start, end] = [types.indexOf('StateStartProcess'), types.indexOf('StateExit')]
  if (start !== -1 && end === -1) verdict.lost.push(`the exit of ${name}`)
  if (end !== -1 && end < start) verdict.disordered.push(name)
  const initExit = all.findIndex((event) => event.type === 'StateExit' && processOf(event) === 'init')
  if (initExit !== -1 && own.some((event) => all.indexOf(event) > initExit)) verdict.disordered.push(`after init: ${name}`)
  const exit = own[end]?.exit
  if (exit === undefined) return
  // With init the kernel kills the rest of its pid namespace.
  const withInit = initExit !== -1 && exit.status === 137
  if (!withInit && !possible(exit, history.ownStatus(id, processId), id, runId, history)) verdict.invented.push(`exit ${JSON.stringify(exit)} of ${name}`)
}

/** Before its start init is runc's own program, in Go: a signal that cannot end the first process of a pid namespace makes that exit with 2. */
const unstarted = 2

/** Could this exit be true? */
function possible (exit: ExitView, own: number | null, id: string, runId: string, { operations, faults }: History): boolean {
  if (exit.reason === 'exited') return exit.status === own
  const hit = faults.some((fault) => fault.runId === runId)
  if (exit.status === null) return exit.reason === 'monitor-lost' && hit
  if (exit.reason === 'monitor-lost' && !hit) return false
  if (exit.reason === 'oom' && !exit.oomKilled) return false
  if (exit.status === own) return true
  if (exit.oomKilled && exit.status === 137) return true
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
  const exitsOf = Map.groupBy(journal.filter(({ exit }) => exit !== undefined), ({ containerId }) => containerId)
  for (const { verb, id, processId, answer } of operations) {
    if (answer?.status === 500) verdict.invented.push(`${verb} of ${id} was answered with 500: ${JSON.stringify(answer.body)}`)
    if (answer === undefined || answer.status >= 500) continue
    const { body } = answer
    if ((verb === 'create' || verb === 'start') && answer.status < 300) {
      const types = runs.get(body.runId)?.map(({ type }) => type) ?? []
      const needed = verb === 'start' || body.status === 'running' ? 'StateStart' : 'StateCreate'
      if (!types.includes(needed)) verdict.lost.push(`${verb} of ${id} was answered with run ${body.runId}, and there is no ${needed}`)
    }
    if (verb === 'exec' && answer.status === 201) {
      const started = journal.some((event) => event.containerId === id && event.processId === processId && event.type === 'StateStartProcess')
      if (!started) verdict.lost.push(`exec ${processId ?? ''} of ${id} was answered with 201, and there is no StateStartProcess`)
    }
    for (const [containerId, exit] of exitsIn(verb, id, answer)) {
      const same = exitsOf.get(containerId)?.some((event) => event.exit !== undefined && sameExit(event.exit, exit)) === true
      if (!same) verdict.invented.push(`${verb} of ${containerId} was answered with an exit that no event has: ${JSON.stringify(exit)}`)
    }
  }
}

/** of a container with a restart policy: how many tries it may have */
export const triesLabel = 'tries'

/** Each try by a policy is one that was told, and none is counted twice or not at all. */
function checkRestarts ({ journal, operations }: History, runs: Map<string, EventView[]>, verdict: Verdict): void {
  const byContainer = Map.groupBy(journal, ({ containerId }) => containerId)
  for (const [id, events] of byContainer) {
    const scheduled = events.filter((event) => event.type === 'StateRestartScheduled')
    let before = 0
    for (const event of events) {
      if (event.type === 'StateCreate') before = 0
      if (event.type !== 'StateRestartScheduled' || event.restart === undefined) continue
      const { attempts, nextAt } = event.restart
      const most = Number(event.labels[triesLabel] ?? 0)
      // From one again after a start by request, a long run, or a start of the daemon.
      if (attempts > 1 && attempts !== before + 1) verdict.invented.push(`try ${attempts} of ${id} after ${before}: ${event.id}`)
      if (most > 0 && attempts > most) verdict.invented.push(`try ${attempts} of ${id}, which may have ${most}: ${event.id}`)
      if (nextAt === null) verdict.invented.push(`a try of ${id} without a time: ${event.id}`)
      before = attempts
    }
    const tries = Map.groupBy(scheduled.filter(({ restart }) => restart?.reason !== 'daemon-started'), ({ runId, restart }) => `${runId ?? ''} ${restart?.attempts ?? ''}`)
    for (const [name, all] of tries) if (all.length > 1) verdict.duplicate.push(`a try of ${id} was told ${all.length} times: ${name}`)
    // A run that nobody created has been started by a client, or by a try.
    const further = [...runs.values()].filter((own) => own[0]?.containerId === id && !own.some(({ type }) => type === 'StateCreate')).length
    const asked = operations.filter((one) => one.id === id && (one.verb === 'start' || (one.verb === 'create' && one.answer?.status !== 201))).length
    if (further > asked + scheduled.length) verdict.invented.push(`${further} runs of ${id} by ${asked} requests and ${scheduled.length} tries`)
  }
}

/** Every exit in an answer, with the container whose it is. */
function exitsIn (verb: string, id: string, { status, body }: { status: number, body: any }): [string, ExitView][] { // any: the wire
  if (verb === 'wait') return status === 200 ? [[id, body]] : []
  return viewsIn(body).flatMap((view) => {
    const processes: { exit: ExitView | null }[] = Array.isArray(view.processes) ? [view, ...view.processes] : [view]
    return processes.flatMap(({ exit }): [string, ExitView][] => (exit == null ? [] : [[verb === 'list' ? view.id : id, exit]]))
  })
}

function viewsIn (body: any): any[] { // any: the wire
  if (body === null || typeof body !== 'object') return []
  return Array.isArray(body.items) ? body.items : [body]
}

const shown: Record<string, string[]> = {
  StateCreate: ['created', 'stopping', 'deleting'], // one that was never started is deleted without an exit
  StateStart: ['running', 'stopping', 'pausing'],
  StateResume: ['running', 'stopping', 'pausing'],
  StatePause: ['paused', 'stopping', 'resuming', 'pausing'],
  StateExit: ['stopped', 'deleting'],
  StateStartFailed: ['stopped', 'deleting']
}

/** A view and the event it names belong together: who sees the one sees the other. */
function checkViews ({ operations, journal }: History, verdict: Verdict): void {
  const places = new Map(journal.map(({ id }, index) => [id, index]))
  const lasts = new Map<string, string | undefined>()
  /** of each event: the last one up to it that changed its container's status */
  const moves = journal.map((event) => {
    const moved = shown[event.type] !== undefined && processOf(event) === 'init'
    if (moved) lasts.set(event.containerId, event.type)
    return lasts.get(event.containerId)
  })
  for (const { verb, answer } of operations) {
    if (answer === undefined || answer.status >= 300) continue
    for (const view of viewsIn(answer.body)) {
      if (typeof view.lastEventId !== 'string') continue
      const place = places.get(view.lastEventId)
      if (place === undefined) {
        verdict.invented.push(`${verb} showed ${view.id} as of ${view.lastEventId}, which is not in the journal`)
        continue
      }
      const move = moves[place]
      if (move !== undefined && view.status !== 'lost' && shown[move]?.includes(view.status) !== true) {
        verdict.disordered.push(`${verb} showed ${view.id} ${view.status} as of ${view.lastEventId}, after which it was ${shown[move]?.join(' or ') ?? ''}`)
      }
    }
  }
}

function sameExit (one: ExitView, other: ExitView): boolean {
  return (['status', 'signal', 'oomKilled', 'reason', 'exitedAt', 'outputComplete'] as const).every((name) => one[name] === other[name])
}
