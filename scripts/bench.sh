#!/usr/bin/env bash
# scripts/bench.sh [NAME…]: runs bench/NAME.bench.ts, or all of them, one after another so that none disturbs another.
# `tables` measures what docs/benchmarks.md shows and writes it there (scripts/tables.sh).
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh demo
[ $# -gt 0 ] || set -- $(find bench -name '*.bench.ts' -printf '%f\n' | sed 's/\.bench\.ts$//' | sort)
[ $# -gt 0 ] || { echo 'there is no benchmark in bench/' >&2; exit 1; }
for name; do
  [ "$name" != tables ] || { scripts/tables.sh; continue; }
  printf '\n# %s\n' "$name"
  node "bench/$name.bench.ts"
done
