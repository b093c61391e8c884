import type { Engine } from '../engines/engine.ts'
import { timed } from './figures.ts'

/** Milliseconds of a whole life: created, started, its exit heard, deleted. */
export async function life (engine: Engine, id: string): Promise<number> {
  const exit = engine.exited(id)
  return await timed(async () => {
    await engine.launch(id, 'true')
    await exit
    await engine.remove(id)
  })
}

/** Milliseconds from `kill -9` of its init to the event. */
export async function killed (engine: Engine, id: string): Promise<number> {
  const exit = engine.exited(id)
  await engine.launch(id, 'sleep')
  const pid = await engine.pid(id)
  const taken = await timed(async () => {
    process.kill(pid, 'SIGKILL')
    await exit
  })
  await engine.remove(id)
  return taken
}
