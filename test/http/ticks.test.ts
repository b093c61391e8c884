import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

const ticksModule = new URL('../../src/ticks.ts', import.meta.url).href

/** Nanoseconds that a tick costs at best, in a process of its own, after full collections at moments without any tick. */
async function tickCost (begin: string): Promise<number> {
  const program = `
    import { setTimeout as sleep } from 'node:timers/promises'
    const nothing = () => {};
    for (let n = 0; n < 2000; n++) process.nextTick(nothing);
    ${begin}
    for (let n = 0; n < 5; n++) { await sleep(10); gc() }
    let best = Infinity
    for (let round = 0; round < 20; round++) {
      await sleep(10)
      const began = process.hrtime.bigint()
      for (let n = 0; n < 20000; n++) process.nextTick(nothing);
      best = Math.min(best, Number(process.hrtime.bigint() - began) / 20000)
    }
    console.log(best)`
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--input-type=module', '-e', program], { env: { ...process.env, NODE_OPTIONS: process.env.NODE_OPTIONS ?? '' } })
  return Number(stdout)
}

t.test('ticks stay quick after full collections', async (t) => {
  const plain = await tickCost('')
  const kept = await tickCost(`(await import('${ticksModule}')).keepTicksQuick();`)
  t.comment(`a tick: ${kept.toFixed(0)} ns, ${plain.toFixed(0)} ns without`)
  // A Node.js that does not forget has nothing to be kept from.
  if (plain < 120) t.pass('this Node.js stays quick by itself')
  else t.ok(kept < plain / 2, `${kept} of ${plain} ns`)
})
