#!/usr/bin/env bash
# scripts/tables.sh [peers] [peers-crun] [growth]: measures all that docs/benchmarks.md shows, or the parts named, in about 20 minutes on
# a machine that does nothing else, and writes it there. A part that fails is named, and the others are measured and written all the same.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh demo
[ $# -gt 0 ] || set -- peers peers-crun growth
failed=()

part () {  # part NAME: its variables can be set from outside, too
  case $1 in
    peers) ROUNDS=${ROUNDS:-5} FILL=${FILL:-45} node bench/peers.bench.ts ;;
    # crun 1.8 refuses a hybrid tree of cgroups: it gets one without the unified hierarchy, where there is one.
    peers-crun)
      NAME=peers-crun RUNTIME=crun ENGINES=${ENGINES:-bare,longshore,podman} ONLY=${ONLY:-lifecycle,throughput,exit,many} ROUNDS=${ROUNDS:-5} MANY=${MANY:-50} FILL=${FILL:-30} \
        unshare -m sh -c '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec node bench/peers.bench.ts' ;;
    growth) node bench/growth.bench.ts ;;
    *) echo "there is no part $1; there are peers, peers-crun, growth" >&2; return 2 ;;
  esac
}

rm -f build/bench/{peers,peers-crun,growth}.{md,json} build/bench/*.svg
for name; do
  printf '\n# %s, %s\n' "$name" "$(date +%T)"
  # Nothing that is measured takes so long; a machine on which it does is not the one to measure on.
  if ! timeout --kill-after=60 "${PART_LIMIT:-2400}" bash -c "$(declare -f part); set -e; part $name"; then failed+=("$name"); fi
done
node bench/publish.ts
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
