#!/usr/bin/env bash
# All that is checked, in the order in which a failure is cheapest. Goes on after a failure, except of the build.
# Ends with the counts of every part and, as its last line, `N passed, N failed`; 0 only when nothing failed
# and every part ran something. A test file that fails is run once more at the end, which is shown: see run-tests.ts.
# The TAP and the logs stay in build/test/.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

# State lies on tmpfs, as /run does where longshore is at home, if there is room: a disk's syncs cost minutes.
room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || room=0
# Not where nothing can be executed from it, as in many containers: bundles lie there too.
executes () {
  local probe rc=0
  probe=$(mktemp "$1/longshore-XXXXXX") && cp "$(type -P true)" "$probe" && chmod +x "$probe" && "$probe" || rc=1
  rm -f "${probe:-}"
  return $rc
}
if [ -z "${TMPDIR:-}" ] && [ "${room:-0}" -gt 4000000 ] && executes /dev/shm 2>/dev/null; then export TMPDIR=/dev/shm; fi

out=$project/build/test
rm -rf "$out"
mkdir -p "$out"
passed=0
failed=0
table=()

count () {  # count PART PASSED FAILED [SKIPPED]
  # A part in which nothing ran has tested nothing.
  if [ $(($2 + $3)) -eq 0 ]; then set -- "$1" 0 1 "${4:-0}"; fi
  passed=$((passed + $2))
  failed=$((failed + $3))
  table+=("$(printf '%-16s %5d passed, %d failed' "$1" "$2" "$3")$([ "${4:-0}" -eq 0 ] || printf ', %d skipped' "$4")")
  echo "${table[-1]}"
}

finish () {
  echo
  printf '%s\n' "${table[@]}"
  echo "$passed passed, $failed failed" | tee "$out/counts"
  [ "$failed" -eq 0 ]
  exit
}

check () {  # check PART COMMAND…: one check that passes or fails, quiet while it passes
  local part=$1
  shift
  if "$@" >"$out/$part.log" 2>&1; then
    count "$part" 1 0
  else
    cat "$out/$part.log"
    count "$part" 0 1
    return 1
  fi
}

prepare () {  # prepare STEP COMMAND…: no check of its own, so counted only when it fails, which ends the run
  local step=$1
  shift
  if ! "$@" 2>&1 | tee "$out/$step.log" >&2; then
    count "$step" 0 1
    finish
  fi
}

native () {  # the sanitizer tests count themselves: `N passed, N failed`
  local rc=0 line
  make --no-print-directory -C test/native check >"$out/native.log" 2>&1 || rc=$?
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/native.log" | tail -n 1) || line='0 passed, 1 failed'
  read -r ok _ bad _ <<<"$line"
  if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ "$bad" -eq 0 ]; then grep '^retried' "$out/native.log" || :; else cat "$out/native.log"; fi
  count native "$ok" "$bad"
}

tests () {  # tests PART=FILE,FILE…: all parts at once, through run-tests.ts, which also runs again what failed
  local part ok bad skip
  node scripts/run-tests.ts "$out" "$@" || :
  for part in "${@%%=*}"; do
    # Nothing written means that the run itself broke down.
    { read -r ok bad skip <"$out/$part.counts"; } 2>/dev/null || { ok=0 bad=1 skip=0; }
    count "$part" "$ok" "$bad" "$skip"
  done
}

floors () {  # speed beside its floors, shown and not judged: neither passes nor fails, also when a busy machine lets it come to no end
  local rc=0
  floors=$(mktemp -d "${TMPDIR:-/tmp}/floors-XXXXXX")
  # In the foreground: the signal is for the report alone, which ends what it has begun by itself.
  TMPDIR=$floors timeout --foreground --kill-after=30 180 node bench/floors.ts "$out/floors.json" >"$out/floors.md" 2>"$out/floors.log" || rc=$?
  sweep
  echo
  if [ "$rc" -eq 0 ] && [ "$(grep -cE '^\|.* [0-9.,]+ \| .*×' "$out/floors.md")" -ge 4 ]; then
    cat "$out/floors.md"
  else
    cat "$out/floors.log"
    echo "floors: no report ($rc)"
  fi
}

sweep () {  # containers, processes and files that a report which was cut off has left in the directory of its own
  local root id file
  [ -n "${floors:-}" ] || return 0
  for file in $(grep -slF -- "$floors/" /proc/[0-9]*/cmdline); do
    root=${file#/proc/}
    # By themselves shims hold their containers until the runtime has ended those.
    grep -qF longshore-shim "$file" 2>/dev/null || kill -KILL "${root%/cmdline}" 2>/dev/null || :
  done
  for root in "$floors"/*/bare/root "$floors"/*/longshore/state/runtime; do
    [ -d "$root" ] || continue
    for id in $(runc --root "$root" list -q 2>/dev/null); do runc --root "$root" delete --force "$id" >/dev/null 2>&1 || :; done
  done
  for file in $(grep -slF -- "$floors/" /proc/[0-9]*/cmdline); do
    file=${file#/proc/}
    kill -KILL "${file%/cmdline}" 2>/dev/null || :
  done
  rm -rf -- "$floors"
  floors=
}
trap sweep EXIT

prepare setup scripts/setup.sh test
prepare build make --no-print-directory build
check lint scripts/lint.sh || :
check types tsc -p . || :
native
files () { find "$@" -name '*.test.ts' | sort | paste -sd, -; }
# The chaos runs are the longest: begun first, they end with the others.
tests "end-to-end=$(files test/chaos),$(files test/e2e)" "unit=$(files test -not -path 'test/e2e/*' -not -path 'test/chaos/*')"
floors
finish
