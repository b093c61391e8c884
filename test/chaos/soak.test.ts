/** The short form of `make soak`: nothing that the daemon holds grows with what it has done. */
import t from 'tap'
import { grown, soak, type Sample } from './soak.ts'

t.setTimeout(460_000)

t.test('what grows is named', async (t) => {
  const one: Sample = { rounds: 1, anonKiB: 1, heapKiB: 1, descriptors: 1, threads: 1, processes: 0, mounts: 0, cgroups: 1, watched: 0, files: 1 }
  t.same(grown(one, { ...one, rounds: 2, anonKiB: 1000 }), [])
  t.same(grown(one, { ...one, descriptors: 10, mounts: 1 }), ['descriptors: 1 → 10', 'mounts: 0 → 1'])
})

t.test('forty lifecycles, and all is as before', async (t) => {
  const { samples, leftovers, lost } = await soak({ rounds: 40, atOnce: 2 })
  t.comment(JSON.stringify(samples.at(-1)))
  t.equal(lost, 0)
  t.same(leftovers, [])
  // Not the first: until then pools and caches fill.
  t.same(grown(samples[2] as Sample, samples.at(-1) as Sample), [])
})
