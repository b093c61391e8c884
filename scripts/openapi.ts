// Writes openapi.yaml from the routes, and the client's types from it; with --check, fails when the file says something else than they do.
import { readFile, writeFile } from 'node:fs/promises'
import { describeApi } from '../test/support/api.ts'
import { writeClientTypes } from './client-types.ts'

const file = new URL('../openapi.yaml', import.meta.url)
const made = await describeApi()
if (process.argv.includes('--check')) {
  if (await readFile(file, 'utf8') !== made) {
    console.error('openapi.yaml is not what the routes say: run `make openapi` and look at the difference')
    process.exit(1)
  }
} else {
  await writeFile(file, made)
  await writeClientTypes(made)
}
