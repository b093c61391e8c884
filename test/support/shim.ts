import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ExitFacts } from '../../src/runtime/exit.ts'
import { Shim } from '../../src/runtime/shim.ts'
import { readExitRecord } from '../../src/supervisor/exit-record.ts'
import { Watch } from '../../src/runtime/watch.ts'

/** A runtime that is a shell script; its first argument, `mode`, is a directory with the script of init. */
const runtimeScript = `#!/bin/sh
mode=$1 command=$2
case $command in
  create)
    if [ -e "$mode/hang" ]; then sleep 1000; fi
    if [ -e "$mode/refuse" ]; then echo 'not this one' >&2; exit 3; fi
    while [ "$1" != --pid-file ]; do shift; done
    if [ -e "$mode/reaped" ]; then sh "$mode/init" & echo $! > "$2"; wait; exit 0; fi
    # A shell gives what it runs in the background no input but what is said.
    exec 3<&0
    # Init waits for the end of the shell that started it: the shim's child from then on, and nobody else's to reap.
    sh -c '(while kill -0 $$ 2>/dev/null; do :; done; exec sh "$1/init") <&3 3<&- & echo $! > "$2"' - "$mode" "$2"
    cp "$2" "$mode/pid"
    if [ -e "$mode/linger" ]; then while [ -e "/proc/$(cat "$2")" ]; do :; done; fi ;;
  exec)
    spec=""
    while [ "$1" != --pid-file ]; do [ "$1" = --process ] && spec=$2; shift; done
    if [ -e "$mode/exec-refuse" ]; then rm "$mode/exec-refuse"; echo 'not this one' >&2; exit 3; fi
    exec 3<&0
    sh -c '(while kill -0 $$ 2>/dev/null; do :; done; exec sh "$1") <&3 3<&- & echo $! > "$2"' - "$spec" "$2"
    if [ -e "$mode/exec-hang" ]; then exec sleep 1000; fi ;;
  start)
    echo > "$mode/started"
    if [ -e "$mode/start-refuse" ]; then exit 4; fi
    echo > "$mode/go"
    while [ -e "/proc/$(cat "$mode/pid")" ]; do :; done ;;
  delete) echo "$@" >> "$mode/deleted" ;;
esac
`

export type House = { directory: string, mode: string, outDir: string, runDir: string, watch: Watch, spawn: (options?: object) => ReturnType<typeof Shim.spawn> }

export async function house (t: Test, init: string, flag?: string): Promise<House> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-shim-'))
  const [mode = '', outDir = '', runDir = ''] = ['mode', 'out', 'run'].map((name) => join(directory, name))
  for (const path of [mode, outDir, runDir]) await mkdir(path, { mode: 0o700 })
  const runtime = join(directory, 'runtime')
  await writeFile(runtime, runtimeScript, { mode: 0o755 })
  await writeFile(join(mode, 'init'), init)
  if (flag !== undefined) await writeFile(join(mode, flag), '')
  const watch = new Watch({ error: (details, message) => t.fail(message, details) })
  t.teardown(async () => {
    watch.close()
    await rm(directory, { recursive: true, force: true })
  })
  const spawn = async (options: object = {}): ReturnType<typeof Shim.spawn> => await Shim.spawn(watch, {
    runtimeId: 'box', bundle: directory, outDir, runDir, terminal: false, noPivotRoot: false, logSegmentBytes: 4096, logSegments: 3,
    memory: undefined, runtime, globalArgs: [mode], ...options
  })
  return { directory, mode, outDir, runDir, watch, spawn }
}

export const exitOf = async (shim: Shim): Promise<ExitFacts> => shim.exit ?? await new Promise((resolve) => { shim.onExit = resolve })

/** The exit record: the shim tells of an exit before it writes that. */
export async function recordOf (directory: string, processId: string): Promise<ExitFacts> {
  for (;;) {
    const record = await readExitRecord(directory, processId)
    if (record !== undefined) return record
  }
}

export async function finish (shim: Shim): Promise<void> {
  shim.acknowledge()
  shim.quit()
  await shim.ended
}

/** The output as it was kept: the oldest segment first. */
export async function output (outDir: string): Promise<{ stream: number, text: string }[]> {
  const records: { stream: number, text: string }[] = []
  for (const name of (await readdir(outDir)).filter((name) => name.endsWith('.log')).sort()) {
    const bytes = await readFile(join(outDir, name))
    for (let at = 0; at < bytes.length;) {
      const length = bytes.readUInt32LE(at + 8)
      records.push({ stream: bytes.readUInt8(at + 12), text: bytes.subarray(at + 16, at + 16 + length).toString() })
      at += 16 + length
    }
  }
  return records
}
