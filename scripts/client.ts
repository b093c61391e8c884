/** Makes the npm package @longshore/client in build/client, and says how big it is. */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import manifest from '../package.json' with { type: 'json' }

const project = resolve(import.meta.dirname, '..')
const source = join(project, 'src/client')
const out = join(project, 'build/client')

await rm(out, { recursive: true, force: true })
await mkdir(out, { recursive: true })
await build({ entryPoints: [join(source, 'index.ts')], outdir: out, bundle: true, format: 'esm', platform: 'neutral', target: 'es2022' })
await build({ entryPoints: [join(source, 'node.ts')], outdir: out, bundle: true, format: 'esm', platform: 'node', target: 'node20' })
await writeFile(join(out, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: { noEmit: false, emitDeclarationOnly: true, declaration: true, rootDir: source, outDir: 'types' }, files: [join(source, 'index.ts'), join(source, 'node.ts')], include: [] }))
await promisify(execFile)(join(project, 'node_modules/.bin/tsc'), ['-p', out])
await rm(join(out, 'tsconfig.json'))
await copyFile(join(project, 'LICENSE'), join(out, 'LICENSE'))
await copyFile(join(project, 'docs/client.md'), join(out, 'README.md'))
const { version, license, engines } = manifest
await writeFile(join(out, 'package.json'), `${JSON.stringify({
  name: '@longshore/client',
  version,
  description: 'A client of longshored, for browsers and Node.js',
  license,
  type: 'module',
  sideEffects: false,
  engines,
  exports: { '.': { types: './types/index.d.ts', default: './index.js' }, './node': { types: './types/node.d.ts', default: './node.js' } }
}, null, 2)}\n`)
const { outputFiles: [minified] } = await build({ entryPoints: [join(source, 'index.ts')], bundle: true, format: 'esm', minify: true, write: false, outdir: out })
const size = minified?.contents.length ?? 0
console.log(`build/client: index.js has ${(await readFile(join(out, 'index.js'))).length} bytes; minified ${size}, with gzip ${gzipSync(minified?.contents ?? '').length}`)
