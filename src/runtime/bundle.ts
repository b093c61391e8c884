import { isAbsolute, join, resolve } from 'node:path'
import { LongshoreError, hasCode } from '../errors.ts'
import type { CreateRequest, ResourcesPatchView, ResourcesView } from '../schemas/index.ts'
import { fileSteps } from './files.ts'
import { knownResources, patchResources } from './resources.ts'

/** The part of the OCI runtime specification's config.json that the supervisor itself looks at. */
export type OciProcess = {
  terminal?: boolean
  user?: { uid?: number, gid?: number, additionalGids?: number[], umask?: number }
  args?: string[]
  env?: string[]
  cwd?: string
  consoleSize?: { width?: number, height?: number }
  [more: string]: unknown
}

export type OciConfig = {
  ociVersion?: string
  process?: OciProcess
  root?: { path?: string, readonly?: boolean }
  linux?: { resources?: Record<string, unknown>, [more: string]: unknown }
  hooks?: { poststart?: unknown[], [more: string]: unknown }
  mounts?: { destination?: string, source?: string, type?: string, options?: string[] }[]
  [more: string]: unknown
}

export type Bundle = {
  path: string
  /** the container gets a pid namespace of its own, whose processes all end with its init (pid_namespaces(7)) */
  ownPids: boolean
  /** it has poststart hooks, which some runtimes run in their start and others in their create */
  poststart: boolean
  process: OciProcess
  /** of config.json, before anything is laid over it */
  resources: ResourcesView
  /** the config to run with when it differs from the one in the bundle; its paths are absolute, so it can live elsewhere */
  rewritten: OciConfig | undefined
}

const configLimit = 4 * 1024 * 1024

function refuse (detail: string, cause?: unknown): never {
  throw new LongshoreError('invalid_bundle', detail, { cause, extra: { errors: [{ field: 'bundle', rule: detail }] } })
}

/**
 * Reads a bundle and lays the request's process, and a patch of its resources, over its config.json. Only reads: a bundle is never written to.
 * What the runtime can judge is left to the runtime. Throws invalid_bundle.
 */
export async function loadBundle (path: string, override: CreateRequest['process'], resources: ResourcesPatchView = {}): Promise<Bundle> {
  if (!isAbsolute(path)) refuse(`the bundle must be an absolute path, not ${JSON.stringify(path)}`)
  const file = join(path, 'config.json')
  let text: string | undefined
  try {
    [text] = await fileSteps([{ op: 'read', path: file, limit: configLimit }])
  } catch (error) {
    if (hasCode(error, 'ENOTDIR')) refuse(`there is no ${file}`, error)
    if (hasCode(error, 'EISDIR') || hasCode(error, 'EINVAL')) refuse(`${file} is not a file`, error)
    if (hasCode(error, 'EFBIG')) refuse(`${file} is larger than ${configLimit} bytes`, error)
    refuse(`${file} cannot be read: ${(error as Error).message}`, error)
  }
  if (text === undefined) refuse(`there is no ${file}`)
  let config: OciConfig
  try {
    config = JSON.parse(text) as OciConfig
  } catch (error) {
    refuse(`${file} is no JSON: ${(error as Error).message}`, error)
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) refuse(`${file} holds no JSON object`)
  if (config.process !== undefined && (typeof config.process !== 'object' || config.process === null)) refuse(`process in ${file} must be an object`)
  const { width, height, ...laid } = override ?? {}
  const process: OciProcess = { ...config.process, ...laid }
  if (width !== undefined || height !== undefined) process.consoleSize = { width: 80, height: 24, ...config.process?.consoleSize, ...(width === undefined ? {} : { width }), ...(height === undefined ? {} : { height }) }
  if (override?.user !== undefined) process.user = { ...config.process?.user, ...override.user }
  if (!Array.isArray(process.args) || process.args.length === 0 || !process.args.every((arg) => typeof arg === 'string')) {
    refuse(`process.args in ${file} must list at least the command, as strings`)
  }
  const linux = typeof config.linux === 'object' && config.linux !== null ? config.linux : {}
  const given = typeof linux.resources === 'object' && linux.resources !== null ? linux.resources : {}
  const patched = Object.keys(resources).length === 0 ? {} : { linux: { ...linux, resources: patchResources(given, resources) } }
  const rewritten = override === undefined && Object.keys(resources).length === 0 ? undefined : absolute({ ...config, ...patched, process }, path)
  const { namespaces } = linux as { namespaces?: { type?: string, path?: string }[] }
  const ownPids = Array.isArray(namespaces) && namespaces.some((namespace) => namespace?.type === 'pid' && (namespace.path ?? '') === '')
  const poststart = config.hooks?.poststart != null
  return { path, process, ownPids, poststart, resources: knownResources(given), rewritten }
}

const greatestSize = 65535

/** The size of the process's terminal at its start, in columns and rows; undefined where its spec names none that a terminal can have. */
export function windowOf ({ consoleSize }: OciProcess): { width: number, height: number } | undefined {
  const { width = 0, height = 0 } = consoleSize ?? {}
  const fits = (size: number): boolean => Number.isInteger(size) && size > 0 && size <= greatestSize
  return fits(width) && fits(height) ? { width, height } : undefined
}

/** The specification reads root.path and the sources of bind mounts relative to the bundle (config.md, "Root" and "Mounts"). */
function absolute (config: OciConfig, bundle: string): OciConfig {
  const moved = { ...config }
  if (typeof config.root?.path === 'string') moved.root = { ...config.root, path: resolve(bundle, config.root.path) }
  if (Array.isArray(config.mounts)) {
    moved.mounts = config.mounts.map((mount) => {
      const bind = mount.type === 'bind' || mount.options?.some((option) => option === 'bind' || option === 'rbind')
      return bind === true && typeof mount.source === 'string' ? { ...mount, source: resolve(bundle, mount.source) } : mount
    })
  }
  return moved
}
