#!/usr/bin/env bash
# valgrind.sh TOP: the shim and the addon under valgrind's memcheck, driven by their tests: what the sanitizers do not see, such
# as a decision on memory that nobody has written. Prints `N passed, N failed`; what valgrind said stays in build/test/valgrind/.
set -u
top=$1
logs=$top/build/test/valgrind
rm -rf "$logs"
mkdir -p "$logs"
passed=0
failed=0

# Through a program of its own, since the daemon's end starts a path.
shim=$logs/longshore-shim
cat >"$shim" <<END
#!/bin/sh
exec valgrind --quiet --leak-check=full --child-silent-after-fork=yes --log-file="$logs/%p.said" "$top/build/debug/longshore-shim" "\$@"
END
chmod +x "$shim"

run () {  # run NAME FILE COMMAND…: everything takes some twenty times as long
  local name=$1 file=$2 rc=0 ok bad
  shift 2
  TAP_TIMEOUT=900 timeout -k 10 900 "$@" "$top/$file" >"$logs/$name.tap" 2>&1 || rc=$?
  ok=$(grep -cE '^ *ok [0-9]+' "$logs/$name.tap")
  bad=$(grep -cE '^ *not ok [0-9]+' "$logs/$name.tap")
  if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ "$bad" -gt 0 ]; then grep -E -A 20 '^ *not ok|ERROR: ' "$logs/$name.tap" | head -80; fi
  passed=$((passed + ok))
  failed=$((failed + bad))
}

for name in shim shim-exec shim-start shim-streams; do LONGSHORE_SHIM=$shim run "$name" "test/runtime/$name.test.ts" node; done
for name in files monitor; do
  run "addon-$name" "test/native/$name.test.ts" valgrind --quiet --smc-check=all-non-file --child-silent-after-fork=yes --log-file="$logs/addon-$name.report" "$(command -v node)"
done

ran=0
for said in "$logs"/*.said; do
  [ -e "$said" ] || continue
  ran=$((ran + 1))
  # A system call that this valgrind does not know (pidfd_open(2) of 3.19) is one that the shim gets ENOSYS for, as of an old kernel.
  if grep -q '^==' "$said"; then
    echo "valgrind reported: $said"
    head -40 "$said"
    failed=$((failed + 1))
  fi
done
# Node's own compiler decides on memory that valgrind takes for unwritten; what passes through the addon is ours.
for report in "$logs"/*.report; do
  if awk -v RS='==[0-9]+== \n' '/longshore\.node/ { found = 1; print } END { exit !found }' "$report"; then failed=$((failed + 1)); fi
done
echo "$ran shims looked at"
if [ "$ran" -eq 0 ]; then failed=$((failed + 1)); fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
