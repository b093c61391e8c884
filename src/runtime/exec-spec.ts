import type { ExecRequest } from '../schemas/index.ts'
import type { OciProcess } from './bundle.ts'

const namesOf = (env: string[]): Set<string> => new Set(env.map((entry) => entry.split('=', 1)[0] ?? ''))

/**
 * The OCI process object for an exec: the container's own, and laid over it what the request names. Of the environment the
 * same name is replaced, in its place; whether there is a terminal is the request's alone to say.
 */
export function execSpec (container: OciProcess, request: ExecRequest): OciProcess {
  const { args, env = [], cwd, user, terminal = false, width, height, capabilities, noNewPrivileges, rlimits } = request
  const { consoleSize, ...rest } = container
  const replaced = namesOf(env)
  const spec: OciProcess = {
    ...rest,
    args,
    terminal,
    env: [...(container.env ?? []).filter((entry) => !replaced.has(entry.split('=', 1)[0] ?? '')), ...env],
    cwd: cwd ?? container.cwd ?? '/'
  }
  if (terminal) spec.consoleSize = { width: width ?? consoleSize?.width ?? 80, height: height ?? consoleSize?.height ?? 24 }
  if (user !== undefined) spec.user = { ...container.user, ...user }
  if (capabilities !== undefined) spec.capabilities = Array.isArray(capabilities) ? { bounding: capabilities, effective: capabilities, permitted: capabilities } : capabilities
  if (noNewPrivileges !== undefined) spec.noNewPrivileges = noNewPrivileges
  if (rlimits !== undefined) spec.rlimits = rlimits
  return spec
}
