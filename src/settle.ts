import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { collectGarbage } from './events/garbage.ts'
import { releaseMemory } from './native/index.ts'

const look = 2000
/** milliseconds of CPU in that time: with less, nobody waits for anything */
const quiet = 40

/**
 * Gives back what only a start needs: half of the memory that the process has by then. Once, and not before the daemon has
 * been at rest for a while, since it holds the event loop for longer than anything else may.
 */
export async function settle ({ busy, collectBeside, signal }: { busy: () => boolean, collectBeside: () => Promise<void>, signal: AbortSignal }): Promise<void> {
  for (let spent = Infinity; spent > quiet || busy();) {
    const before = process.cpuUsage()
    await delay(look, undefined, { ref: false, signal })
    const { user, system } = process.cpuUsage(before)
    spent = (user + system) / 1000
  }
  await collectBeside()
  collectGarbage()
  await turn()
  releaseMemory()
}
