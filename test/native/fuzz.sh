#!/usr/bin/env bash
# fuzz.sh TOP SECONDS, fuzz.sh --can: libFuzzer over each parser of bytes in the shim, with ASan and UBSan. Prints `N passed, N failed`;
# the input that failed stays in build/fuzz/. Corpora are kept there too, so that a later run goes on from where this one was.
set -u

can () {  # does clang have libFuzzer and AddressSanitizer on this machine?
  local probe
  probe=$(mktemp) || return 1
  echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }' |
    clang -x c - -fsanitize=fuzzer,address,undefined -o "$probe" 2>/dev/null
  local rc=$?
  rm -f "$probe"
  return "$rc"
}
if [ "$1" = --can ]; then can; exit; fi

top=$1 seconds=$2
out=$top/build/fuzz
passed=0
failed=0
mkdir -p "$out"
shim=$top/src/native/shim
for source in "$top"/test/native/fuzz/*-fuzz.c; do
  name=$(basename "$source" -fuzz.c)
  others=()
  # Only the whole shim is linked with its parts; the others include the one that they are about.
  [ "$name" = shim ] && for part in "$shim"/*.c; do case ${part##*/} in shim.c | runtime.c) ;; *) others+=("$part") ;; esac; done
  mkdir -p "$out/$name"
  # What no fuzzer would hit upon soon.
  case $name in
    runtime) printf -- '--id\0a\0--bundle\0/b\0--out\0/o\0--log-bytes\0004096\0--terminal\0--\0runc\0--root\0/r\0--log\0/l\0' >"$out/$name/seed" ;;
    oom) printf '9:name=systemd:/\n4:cpu,memory:/a/b\n0::/c\n' >"$out/$name/seed" && printf 'low 0\noom_group_kill 1\noom_kill 3\n' >"$out/$name/seed2" ;;
  esac
  if ! clang -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Wno-unused-function -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I "$shim" -o "$out/fuzz-$name" "$source" "${others[@]}" >"$out/$name.log" 2>&1; then
    grep -A 3 error: "$out/$name.log" | head -40
    failed=$((failed + 1))
    continue
  fi
  if (cd "$out" && "./fuzz-$name" -max_total_time="$seconds" -timeout=30 -max_len=4000 -print_final_stats=1 -artifact_prefix="$out/failed-$name-" "$out/$name") >"$out/$name.log" 2>&1; then
    passed=$((passed + 1))
    echo "$name: $(grep -oE 'stat::number_of_executed_units: *[0-9]+' "$out/$name.log" | grep -oE '[0-9]+$') inputs, $(grep -oE 'cov: [0-9]+' "$out/$name.log" | tail -n 1)"
  else
    failed=$((failed + 1))
    tail -n 60 "$out/$name.log"
  fi
done
rm -rf /dev/shm/longshore-fuzz-*
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
