/** Makes the client's types and table of operations from openapi.yaml: src/client/types.gen.ts and operations.gen.ts. */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@hey-api/openapi-ts'
import { parse } from 'yaml'

type Document = { paths: Record<string, Record<string, { operationId: string, responses: Record<string, unknown> }>> }

const directory = new URL('../src/client/', import.meta.url)

/** The first line of what was made from this text of openapi.yaml. */
export function stamp (openapi: string): string {
  return `// Made by \`make openapi\` from openapi.yaml, sha256 ${createHash('sha256').update(openapi).digest('hex')}\n`
}

export async function writeClientTypes (openapi: string): Promise<void> {
  const types = new URL('types.gen.ts', directory)
  const table = new URL('operations.gen.ts', directory)
  const kept = await Promise.all([types, table].map(async (file) => await readFile(file, 'utf8').catch(() => '')))
  if (kept.every((text) => text.startsWith(stamp(openapi)))) return
  const document = parse(openapi) as Document
  const temporary = await mkdtemp(join(tmpdir(), 'longshore-client-types-'))
  try {
    await createClient({ input: document as never, output: { path: temporary }, plugins: ['@hey-api/typescript'], logs: { level: 'silent' } })
    await writeFile(types, stamp(openapi) + await readFile(join(temporary, 'types.gen.ts'), 'utf8'))
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
  // What becomes a WebSocket is no request with an answer.
  const all = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).filter(([, { responses }]) => !('101' in responses))
    .map(([method, { operationId }]) => ({ path, method: method.toUpperCase(), name: operationId })))
  const capital = (name: string): string => name.slice(0, 1).toUpperCase() + name.slice(1)
  await writeFile(table, `${stamp(openapi)}
import type * as types from './types.gen.ts'

export const operations = {
${all.map(({ name, method, path }) => `  ${name}: { method: '${method}', path: '${path}' }`).join(',\n')}
} as const

export type Operations = {
${all.map(({ name }) => `  ${name}: { data: types.${capital(name)}Data, responses: types.${capital(name)}Responses }`).join('\n')}
}
`)
}
