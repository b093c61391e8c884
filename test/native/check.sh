#!/usr/bin/env bash
# check.sh TOP ASAN LOGS: runs the tests with the sanitizer builds; whatever a sanitizer says is a failure of its own.
set -u
top=$1 asan=$2 logs=$3
rm -rf "$logs"
mkdir -p "$logs"
passed=0
failed=0

attempt () {  # attempt NAME [VARIABLE=VALUE…] FILE: sets rc, ok and bad
  local name=$1 file=${*: -1}
  shift
  rc=0
  env "${@:1:$#-1}" TAP_TIMEOUT=300 UBSAN_OPTIONS="print_stacktrace=1:log_path=$logs/$name.ubsan" timeout -k 10 300 node "$top/$file" >"$logs/$name.tap" 2>&1 || rc=$?
  ok=$(grep -cE '^ *ok [0-9]+' "$logs/$name.tap")
  bad=$(grep -cE '^ *not ok [0-9]+' "$logs/$name.tap")
  if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
}

reports () { find "$logs" -name "$1.asan.*" -o -name "$1.ubsan.*"; }

run () {  # run NAME [VARIABLE=VALUE…] FILE
  local rc ok bad
  attempt "$@"
  if [ "$bad" -gt 0 ] && [ -z "$(reports "$1")" ]; then
    # No sanitizer has anything to say: the machine may have been busy. What one says is never tried away.
    cp "$logs/$1.tap" "$logs/$1.first.tap"
    local first=$bad
    attempt "$@"
    echo "retried $1: first $first failed, then $bad"
  fi
  if [ "$bad" -gt 0 ]; then grep -E -A 20 '^ *not ok|ERROR: ' "$logs/$1.tap" | head -80; fi
  passed=$((passed + ok))
  failed=$((failed + bad))
}

# Node itself is not built for the leak check: its own memory at exit would drown ours.
run monitor LONGSHORE_ADDON="$asan/longshore.node" LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS="detect_leaks=0:log_path=$logs/monitor.asan" test/native/monitor.test.ts
run files LONGSHORE_ADDON="$asan/longshore.node" LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS="detect_leaks=0:log_path=$logs/files.asan" test/native/files.test.ts
run files LONGSHORE_ADDON="$asan/longshore.node" LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS="detect_leaks=0:log_path=$logs/files.asan" test/runtime/files.test.ts
run probe LONGSHORE_ADDON="$asan/longshore.node" LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS="detect_leaks=0:log_path=$logs/probe.asan" test/native/probe.test.ts
run shim-parts LONGSHORE_SHIM="$asan/longshore-shim" ASAN_OPTIONS="detect_leaks=1:log_path=$logs/shim-parts.asan" test/runtime/shim.test.ts
run shim-exec LONGSHORE_SHIM="$asan/longshore-shim" ASAN_OPTIONS="detect_leaks=1:log_path=$logs/shim-exec.asan" test/runtime/shim-exec.test.ts
run shim-start LONGSHORE_SHIM="$asan/longshore-shim" ASAN_OPTIONS="detect_leaks=1:log_path=$logs/shim-start.asan" test/runtime/shim-start.test.ts
run shim-streams LONGSHORE_SHIM="$asan/longshore-shim" ASAN_OPTIONS="detect_leaks=1:log_path=$logs/shim-streams.asan" test/runtime/shim-streams.test.ts
run shim LONGSHORE_SHIM="$asan/longshore-shim" ASAN_OPTIONS="detect_leaks=1:log_path=$logs/shim.asan" test/e2e/main-job.test.ts

for report in "$logs"/*.asan.* "$logs"/*.ubsan.*; do
  [ -e "$report" ] || continue
  echo "a sanitizer reported: $report"
  head -40 "$report"
  failed=$((failed + 1))
done
# A short run of each fuzzer where clang is there; `make fuzz` goes on for longer, and installs it.
if "$top/test/native/fuzz.sh" --can "$top"; then
  line=$("$top/test/native/fuzz.sh" "$top" 4 2>&1 | tee "$logs/fuzz.log" | tail -n 1)
  read -r ok _ bad _ <<<"$line"
  [ "$bad" = 0 ] || tail -n 80 "$logs/fuzz.log"
  passed=$((passed + ok))
  failed=$((failed + bad))
else
  echo 'no fuzzing: clang has no libFuzzer here'
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
