/**
 * From the end of a process to JavaScript: a child of the addon is killed, and its notice awaited.
 * ROUNDS (1000). LONGSHORE_ADDON measures another build of the addon.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Monitor } from '../src/native/index.ts'

const rounds = Number(process.env.ROUNDS ?? 1000)
const atOnce = 100
const directory = await mkdtemp(join(tmpdir(), 'longshore-bench-'))
const stdio = join(directory, 'out')

let calls = 0
let wanted = 0
let seen = (): void => {}
const monitor = new Monitor((events) => {
  calls++
  wanted -= events.length
  if (wanted <= 0) seen()
})
const sleeper = async (): Promise<number> => (await monitor.run({ path: '/bin/sleep', args: ['100'], env: [], stdio })).process

async function kill (tokens: number[]): Promise<number> {
  wanted = tokens.length
  const done = new Promise<void>((resolve) => { seen = resolve })
  const began = performance.now()
  for (const token of tokens) monitor.signal(token, 9)
  await done
  const taken = performance.now() - began
  for (const token of tokens) monitor.drop(token)
  return taken
}

const percentile = (values: number[], p: number): string => ((values.toSorted((a, b) => a - b)[Math.floor(values.length * p)] ?? 0) * 1000).toFixed(0)

const single: number[] = []
for (let round = 0; round < rounds; round++) single.push(await kill([await sleeper()]))
console.log(`one end:          p50 ${percentile(single, 0.5)} µs, p99 ${percentile(single, 0.99)} µs (kill to JavaScript, ${rounds} rounds)`)

calls = 0
const many: number[] = []
for (let round = 0; round < rounds / 50; round++) many.push(await kill(await Promise.all(Array.from({ length: atOnce }, sleeper))))
console.log(`${atOnce} ends at once: p50 ${percentile(many, 0.5)} µs, ${(calls / many.length).toFixed(1)} calls`)

monitor.close()
await rm(directory, { recursive: true })
