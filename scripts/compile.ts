/**
 * Makes the program: dist/main.js and one file for each worker thread, with every package that they use inside, and
 * dist/LICENSES.txt with those packages' licences. One file is read, parsed and kept in memory several times quicker and
 * smaller than some 700 small ones. The native addon stays outside.
 */
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { build, type Metafile, type Plugin } from 'esbuild'

const project = resolve(import.meta.dirname, '..')
// Another source or place is for copies with a mistake put in (test/chaos/mutant.ts).
const source = resolve(process.argv[2] ?? join(project, 'src'))
const out = resolve(process.argv[3] ?? join(project, 'dist'))

/**
 * A module goes on seeing the place in import.meta that it would have had if it had been compiled alone (src/a/b.ts →
 * dist/a/b.js), so that what it finds beside itself (a worker, the addon, a file to serve) is found from the bundle too.
 */
const ownPlace = (entry: string): Plugin => ({
  name: 'own-place',
  setup (build) {
    build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      if (!path.startsWith(`${source}/`) || !/\bimport\.meta\b/.test(text)) return { contents: text, loader: 'ts' }
      const place = relative(dirname(entry), path).replace(/\.ts$/, '.js')
      const url = `new URL(${JSON.stringify(place.startsWith('.') ? place : `./${place}`)}, import.meta.url)`
      const contents = text.replace(/\bimport\.meta\.(url|dirname|filename)\b/g, (_, what: string) =>
        what === 'url' ? `${url}.href` : `process.getBuiltinModule('node:url').fileURLToPath(${what === 'filename' ? url : `new URL('.', ${url})`})`)
      return { contents, loader: 'ts' }
    })
  }
})

/**
 * Node's own modules are required, not imported: an import makes all their exports at once, lazy ones too, which for
 * node:http alone loads the whole of undici. And of two packages nothing is ever called: the serializers that Fastify
 * would make from schemas (server.ts has another), and what its inject() is made of.
 */
const lean: Plugin = {
  name: 'lean',
  setup (build) {
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) => (kind === 'import-statement' ? { path, namespace: 'builtin' } : { path, external: true }))
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({ contents: `module.exports = require(${JSON.stringify(path)})`, loader: 'js' }))
    build.onResolve({ filter: /^(@fastify\/fast-json-stringify-compiler|light-my-request)$/ }, ({ path }) => ({ path, namespace: 'unused' }))
    build.onLoad({ filter: /.*/, namespace: 'unused' }, ({ path }) => ({ contents: `throw new Error(${JSON.stringify(`${path} is not part of the program`)})`, loader: 'js' }))
  }
}

/** What packages in CommonJS expect to be there. */
const banner = [
  "import { createRequire as longshoreRequire } from 'node:module'",
  'const require = longshoreRequire(import.meta.url)',
  'const __filename = import.meta.filename',
  'const __dirname = import.meta.dirname'
].join('\n')

async function bundle (entry: string): Promise<Metafile> {
  const { metafile } = await build({
    entryPoints: [entry],
    outbase: source,
    outdir: out,
    absWorkingDir: project,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node22.12',
    banner: { js: banner },
    // Names and lines stay as they are: a stack trace in a log is to be read by people.
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    plugins: [ownPlace(entry), lean]
  })
  return metafile
}

/** The directories of the packages whose files went into a bundle. */
function packagesOf (metafile: Metafile): string[] {
  return Object.keys(metafile.inputs).flatMap((input) => {
    const [, directory] = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input) ?? []
    return directory === undefined ? [] : [directory]
  })
}

async function licenceOf (directory: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(project, directory, 'package.json'), 'utf8')) as { name: string, version: string, license?: string }
  const file = (await readdir(join(project, directory))).find((one) => /^(licen[sc]e|copying)/i.test(one))
  const text = file === undefined ? '' : `\n\n${(await readFile(join(project, directory, file), 'utf8')).trim()}`
  return `${name} ${version} (${license ?? 'see below'})${text}\n`
}

const files = (await readdir(source, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
const entries = files.filter((path) => path === join(source, 'main.ts') || basename(path).endsWith('-worker.ts'))
const metafiles = await Promise.all(entries.map(bundle))

const packages = [...new Set(metafiles.flatMap(packagesOf))].sort()
await writeFile(join(out, 'LICENSES.txt'), `The program contains these packages.\n\n${(await Promise.all(packages.map(licenceOf))).join(`\n${'-'.repeat(80)}\n\n`)}`)

// What an earlier build left.
const made = new Set([...metafiles.flatMap(({ outputs }) => Object.keys(outputs)).map((path) => join(project, path)), join(out, 'LICENSES.txt')])
for (const entry of await readdir(out, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name)
  if (entry.isFile() && !made.has(path)) await rm(path)
}
