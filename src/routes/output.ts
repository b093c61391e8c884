import { LongshoreError } from '../errors.ts'
import type { Container } from '../runtime/container.ts'
import { findLog, heldBy } from '../runtime/log-source.ts'
import type { LogSource } from '../runtime/log-stream.ts'
import type { ExitView } from '../schemas/index.ts'
import type { Supervisor } from '../supervisor/supervisor.ts'
import { waitForExit } from '../supervisor/wait.ts'
import type { ProcessInput } from './attach-session.ts'

export type ChosenLog = {
  runId: string
  source: LogSource
  /** a reader wanted to go on in a run whose log is not kept any more, so this is the latest one instead */
  lost: boolean
}

/** The log of a process, of the run that was asked for or of the latest; with `resumes`, of the latest also where the other has gone. */
export async function chooseLog (supervisor: Supervisor, id: string, processId: string, runId: string | undefined, resumes = false): Promise<ChosenLog> {
  // A reader that comes back at once after a restart must not be told that what it read has gone.
  await supervisor.restored
  const container = supervisor.find(id)
  const latest = container.view().runId
  if (runId !== undefined) {
    const source = await findLog(container, runId, processId)
    if (source !== undefined) return { runId, source, lost: false }
    if (!resumes) throw new LongshoreError('run_not_found', `nothing is kept of a run ${runId} of ${processId === 'init' ? '' : `process ${processId} in `}container ${id}`)
  }
  if (latest === null) throw new LongshoreError('invalid_state', `container ${id} has had no run`)
  const source = await findLog(container, latest, processId)
  if (source === undefined && processId !== 'init') throw new LongshoreError('process_not_found', `container ${id} has no process ${processId}`)
  return { runId: latest, source: source ?? { directory: container.outDir }, lost: runId !== undefined }
}

/** The ways into a process; undefined when no shim has it any more. */
export function inputOf (container: Container, runId: string, processId: string): ProcessInput | undefined {
  const held = heldBy(container, runId, processId)
  const process = container.processes.get(processId)
  if (held === undefined || process === undefined || process.status === 'stopped') return undefined
  const { shim, slot } = held
  return {
    write: async (bytes) => await shim.input(slot, bytes),
    close: async () => await shim.closeInput(slot),
    resize: (width, height) => {
      if (process.spec.terminal !== true) throw new LongshoreError('invalid_state', `process ${processId} has no terminal`)
      shim.resize(slot, width, height)
    }
  }
}

/** The exit of a process, once it is told; null when none will be, or the signal was first. */
export async function exitOf (supervisor: Supervisor, container: Container, runId: string, processId: string, signal: AbortSignal): Promise<ExitView | null> {
  try {
    const row = await waitForExit(supervisor, { containerId: container.id, runId, processId, abort: signal })
    return row?.exit ?? null
  } catch (error) {
    if (error instanceof LongshoreError) return null
    throw error
  }
}
