#!/usr/bin/env bash
# All that is checked, in the order in which a failure is cheapest. Goes on after a failure, except of the build.
# Ends with the counts of every part and, as its last line, `N passed, N failed`; 0 only when nothing failed
# and every part ran something. The TAP and the logs stay in build/test/.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

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
  [ "$bad" -eq 0 ] || cat "$out/native.log"
  count native "$ok" "$bad"
}

tests () {  # tests PART FILE…: through tap
  local part=$1 rc=0 line ok=0 bad=0 skip=0
  shift
  if [ $# -gt 0 ]; then
    tap --reporter=tap "$@" 2>&1 | tee "$out/$part.tap" | awk -f scripts/tap-brief.awk || rc=$?
    line=$(grep -E '^# \{ total: ' "$out/$part.tap" | tail -n 1) || rc=1
    number () { [[ $line =~ [\ ,]$1:\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0; }
    ok=$(number pass)
    bad=$(number fail)
    skip=$(($(number skip) + $(number todo)))
    # A file that crashes or never ends is no assertion that failed, but it is a failure.
    if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  fi
  count "$part" "$ok" "$bad" "$skip"
}

prepare setup scripts/setup.sh test
prepare build make --no-print-directory build
check lint scripts/lint.sh || :
check types tsc -p . || :
native
mapfile -t unit < <(find test -name '*.test.ts' -not -path 'test/e2e/*' -not -path 'test/chaos/*' | sort)
mapfile -t e2e < <(find test/e2e test/chaos -name '*.test.ts' 2>/dev/null | sort)
tests unit "${unit[@]}"
tests end-to-end "${e2e[@]}"
finish
