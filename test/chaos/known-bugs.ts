/** Mistakes that supervisors have made, each as a change of the source. `steps` and `kills`: the runs that are to find it. */
import type { Step } from './failpoint-run.ts'
import type { Change } from './mutant.ts'

export type Bug = { name: string, changes: Change[], steps?: Step[], kills?: number }

export const bugs: Bug[] = [
  {
    name: 'a try of a restart policy is counted again by the next daemon',
    kills: 20,
    changes: [{ file: 'supervisor/restart.ts', from: 'restart.decidedFor === run.runId || ', to: '' }, { file: 'supervisor/restart.ts', from: "if (decision !== undefined && !told.has('StateRestartScheduled'))", to: 'if (decision !== undefined)' }]
  },
  {
    name: 'an exit is told again by the next daemon, and nothing refuses it',
    steps: ['exit.told', 'teardown.deleted'],
    changes: [
      { file: 'events/journal-store.ts', from: "CREATE UNIQUE INDEX IF NOT EXISTS events_once_for_a_process ON events (run_id, process_id, type) WHERE type IN ('StateStart', 'StateStartFailed', 'StateExit');", to: '' },
      { file: 'supervisor/restore.ts', from: "if (told.has('StateExit') || told.has('StateStartFailed')) {", to: 'if (false) {' },
      { file: 'events/journal-worker.ts', from: 'INSERT INTO exits', to: 'INSERT OR REPLACE INTO exits' }
    ]
  },
  {
    name: 'an exit is lost that came while no daemon was there',
    kills: 8,
    changes: [{ file: 'supervisor/restore.ts', from: '    exitSeen(supervisor, container, facts)\n', to: "    container.status = run.phase = init.status = 'stopped'\n    run.tornDown = true\n" }]
  },
  {
    name: 'an exit is told before the start of its run',
    kills: 2,
    changes: [{ file: 'supervisor/exit.ts', from: "  readonly kind = 'exit'\n", to: "  readonly kind = 'exit'\n  override readonly lane = 'free' as const\n" }]
  },
  {
    name: 'a status is made up for an end that nobody saw',
    kills: 8,
    changes: [{ file: 'supervisor/exit.ts', from: 'report({ waitStatus: known,', to: 'report({ waitStatus: known ?? 255 << 8,' }, { file: 'supervisor/restore.ts', from: 'facts = { waitStatus: null,', to: 'facts = { waitStatus: 255 << 8,' }]
  },
  {
    name: 'a running container is taken for lost by the next daemon',
    steps: ['restore.loaded'],
    changes: [{ file: 'supervisor/restore.ts', from: 'const shim = sameBoot ? await Shim.connect(watch, container.runDir) : undefined', to: 'const shim = (sameBoot ? undefined : await Shim.connect(watch, container.runDir)) as Shim | undefined' }]
  },
  {
    name: 'OOM is told after the exit',
    kills: 3,
    changes: [
      { file: 'supervisor/exit.ts', from: '  if (oomKills !== null && oomKills > container.oomTold) await tellOom(supervisor, container, run.runId, oomKills)\n', to: '' },
      { file: 'supervisor/exit.ts', from: "  failpoint('exit.told')\n", to: "  if (oomKills !== null && oomKills > container.oomTold) await supervisor.publish(container, 'StateOOM', { process: init })\n" },
      { file: 'supervisor/run.ts', from: "if (event.kind !== 'oom') return", to: 'return' }
    ]
  },
  {
    name: 'a container that removes itself is told as deleted before its exit',
    kills: 4,
    changes: [
      { file: 'supervisor/exit.ts', from: '    await tellExit(supervisor, this, container, this.#process, this.#process.ended)\n', to: '    if (!container.autoRemove) await tellExit(supervisor, this, container, this.#process, this.#process.ended)\n    else container.status = \'stopped\'\n' },
      { file: 'supervisor/exit.ts', from: 'within: this }).execute(supervisor)\n', to: 'within: this }).execute(supervisor)\n    if (container.autoRemove) { container.status = \'running\'; await tellExit(supervisor, this, container, this.#process, this.#process.ended) }\n' }
    ]
  },
  {
    name: 'the last number is given again after a restart',
    kills: 6,
    changes: [{ file: 'events/journal-store.ts', from: '    const bounds = db.prepare(', to: "    db.exec('DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)')\n    const bounds = db.prepare(" }, { file: 'events/journal-store.ts', from: "const before = Math.max(Number(getMeta(db, 'head') ?? 0), bounds.head ?? 0)", to: 'const before = bounds.head ?? 0' }, { file: 'events/journal-store.ts', from: 'const recovered = recover(db, epochsOf(db).at(-1)?.epoch, before)', to: 'const recovered = before' }, { file: 'events/journal-store.ts', from: 'const head = carry(db, epochs, recovered)', to: 'const head = recovered' }]
  },
  {
    name: 'a reader misses what is committed while it reads a page',
    kills: 10,
    changes: [{ file: 'events/hub.ts', from: 'this.#advance(reader, Math.max(reached, first - 1), bytes)', to: 'this.#advance(reader, Math.max(reached, this.#journal.head), bytes)' }]
  },
  {
    name: 'the record is written after the spawn, and nobody looks for what has none',
    steps: ['create.spawned'],
    changes: [{ file: 'supervisor/run.ts', from: "  await container.save(steps)\n  failpoint('create.recorded')\n", to: "  await (await import('node:fs/promises')).mkdir(container.runDir, { recursive: true, mode: 0o700 })\n" }, { file: 'main.ts', from: 'await endOrphans(supervisor, orphans)', to: 'void orphans' }]
  },
  {
    name: 'state is shown before its event is on disk',
    steps: ['journal.committed:2', 'journal.committed:3'],
    kills: 6,
    changes: [
      { file: 'supervisor/supervisor.ts', from: '    await this.options.journal.append({\n', to: '    apply?.()\n    await new Promise((resolve) => setTimeout(resolve, 50))\n    await this.options.journal.append({\n' },
      { file: 'supervisor/supervisor.ts', from: '      container.lastEventId = id\n      apply?.()\n', to: '      container.lastEventId = id\n' }
    ]
  },
  {
    name: 'what outlives init is left alone',
    kills: 8,
    changes: [{ file: 'supervisor/kill.ts', from: '    if (await signalAll(supervisor, container, 9) === 0) return true\n', to: '    return true\n' }, { file: 'supervisor/teardown.ts', from: 'if (await deleteByForce(supervisor, task, container, run.runtimePath) && !await exists(container.runtimeDir)) return', to: 'return' }]
  }
]
