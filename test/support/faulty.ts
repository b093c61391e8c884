/** A daemon whose runtime does what a test wants to go wrong, and what must not be left after it. */
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Daemon } from './daemon.ts'

/**
 * runc, except that each line of the file `fault` may name a subcommand and what it does instead. The one that hangs does not do
 * it itself but in a child, which must not be left either; `stranger` says that it made a process that is somebody else's.
 */
const runtimeScript = `#!/bin/sh
for command; do case $command in create | start | delete | state | kill | exec | pause | resume | update | list | features | --version) break ;; esac; done
how=
while read -r what how who; do [ "$what" = "$command" ] && break; how=; done 2>/dev/null < "$(dirname "$0")/fault"
case $how in
  hang) trap '' TERM; sleep 1000; exit 1 ;;
  fail) echo 'told to fail' >&2; exit 1 ;;
  crash) kill -SEGV $$ ;;
  garbage) head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 1 ;;
  noise) head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 0 ;;
  lie) exit 0 ;;
  stranger) while [ "$1" != --pid-file ]; do shift; done; echo "$who" > "$2"; exit 0 ;;
  late) sleep 0.3 ;;
esac
exec runc "$@"
`

export type Faulty = { daemon: Daemon, fault: (...lines: string[]) => Promise<void> }

/** `fault()` without a line ends all faults. */
export async function faulty (t: Test, ...args: string[]): Promise<Faulty> {
  const daemon = await Daemon.prepare()
  t.teardown(async () => await daemon.destroy())
  const runtime = join(daemon.directory, 'runtime')
  const file = join(daemon.directory, 'fault')
  await writeFile(runtime, runtimeScript, { mode: 0o755 })
  await daemon.launch(['--runtime', runtime, ...args], { FAULTY: daemon.directory })
  return { daemon, fault: async (...lines) => lines.length === 0 ? await rm(file, { force: true }) : await writeFile(file, lines.map((line) => `${line}\n`).join('')) }
}

export async function nothingLeft (t: Test, daemon: Daemon): Promise<void> {
  t.same(await daemon.shims(), [], 'no shim')
  t.same(await readdir(join(daemon.state, 'runs')), [], 'no run directory')
  t.same(await readdir(join(daemon.root, 'containers')), [], 'no container directory')
  t.same(await readdir(join(daemon.state, 'runtime')).catch(() => []), [], 'nothing of the runtime')
  t.same(await strays(daemon), [], 'no runtime')
}

/** Processes that the daemon or a shim has started, and that are neither: runtimes, and what they left. */
export async function strays (daemon: Daemon): Promise<string[]> {
  const found: string[] = []
  const own = new Set([daemon.pid, ...await daemon.shims()])
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || own.has(Number(name))) continue
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')
    if (!environment.split('\0').includes(`FAULTY=${daemon.directory}`)) continue
    const command = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
    // The daemon asks CRIU how it is, after its start, and that ends by itself.
    if (!/criu (check|--version) $/.test(command)) found.push(`${name}: ${command}`)
  }
  return found
}

export async function alive (pid: number | undefined): Promise<boolean> {
  return !/^gone|\) Z /.test(await readFile(`/proc/${pid ?? 0}/stat`, 'utf8').catch(() => 'gone'))
}

/** Directories of the container's runs that are there in any hierarchy of /sys/fs/cgroup, at any depth up to the third. */
export async function groupsOf (runtimeIds: readonly string[]): Promise<string[]> {
  const found: string[] = []
  const look = async (directory: string, depth: number): Promise<void> => {
    for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
      if (!entry.isDirectory()) continue
      const path = join(directory, entry.name)
      if (runtimeIds.some((id) => entry.name.includes(id))) found.push(path)
      else if (depth > 0) await look(path, depth - 1)
    }
  }
  await look('/sys/fs/cgroup', 3)
  return found
}
