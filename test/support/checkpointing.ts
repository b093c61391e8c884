import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * runc, except for what needs CRIU, which few kernels of test machines please: a checkpoint leaves an image and CRIU's log,
 * and ends the container unless it is to run on; a restore is a create and a start. The file `fault` beside it may name one of
 * the two, and what it does instead.
 */
const script = `#!/bin/sh
here=$(dirname "$0")
for command; do case $command in checkpoint | restore) break ;; esac; done
case $command in checkpoint | restore) ;; *) exec runc "$@" ;; esac
echo "$@" >> "$here/calls"
global=
while [ "\${1#--}" != "$1" ]; do global="$global $1 $2"; shift 2; done
shift
leave= keep=
while [ $# -gt 0 ]; do
  case $1 in
    --image-path) images=$2; shift 2 ;;
    --work-path) work=$2; shift 2 ;;
    --bundle | --pid-file | --console-socket) keep="$keep $1 $2"; shift 2 ;;
    --empty-ns) shift 2 ;;
    --leave-running) leave=yes; shift ;;
    --*) shift ;;
    *) id=$1; shift ;;
  esac
done
read -r what how < "$here/fault" 2>/dev/null
[ "$what" = "$command" ] || how=
if [ "$command" = checkpoint ]; then
  head -c 5000 /dev/zero > "$images/pages-1.img"
  case $how in
    fail)
      printf '(00.1) Info: seizing\\n(00.2) Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using --tcp-established option.\\n(00.3) Error (criu/cr-dump.c:1781): Dumping FAILED.\\n' > "$work/dump.log"
      echo 'criu failed: type NOTIFY errno 0' >&2
      exit 1 ;;
    hang) exec sleep 1000 ;;
  esac
  [ -n "$leave" ] || runc $global delete --force "$id" || exit 1
  echo '(00.9) Dumping finished successfully' > "$work/dump.log"
else
  [ -f "$images/pages-1.img" ] || exit 1
  if [ "$how" = fail ]; then
    echo '(00.2) Error (criu/files-reg.c:2139): File /tmp/gone has bad size, and no such file or directory' > "$work/restore.log"
    echo 'criu failed: type NOTIFY errno 0' >&2
    exit 1
  fi
  runc $global create $keep "$id" && exec runc $global start "$id"
fi
`

export type FakeRuntime = { path: string, fault: (what?: string) => Promise<void>, calls: () => Promise<string[]> }

/** A runtime that makes checkpoints on every machine. */
export async function checkpointingRuntime (directory: string): Promise<FakeRuntime> {
  await mkdir(directory, { recursive: true })
  const path = join(directory, 'runtime')
  await writeFile(path, script, { mode: 0o755 })
  return {
    path,
    fault: async (what) => what === undefined ? await rm(join(directory, 'fault'), { force: true }) : await writeFile(join(directory, 'fault'), `${what}\n`),
    calls: async () => (await readFile(join(directory, 'calls'), 'utf8')).trim().split('\n')
  }
}
