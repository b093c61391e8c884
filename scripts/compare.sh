#!/usr/bin/env bash
# scripts/compare.sh COMMIT: builds that commit in build/compare/ with the packages that are here, and measures it in turn with
# this tree (bench/compare.ts). A commit that needs other packages needs a tree and an `npm ci` of its own.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

commit=$(git rev-parse --verify --quiet "${1:-}^{commit}") || { echo 'usage: make compare WITH=COMMIT' >&2; exit 2; }
tree=$project/build/compare/$commit
if [ ! -d "$tree/dist" ]; then
  rm -rf -- "$tree"
  mkdir -p -- "$tree"
  git archive "$commit" | tar -x -C "$tree"
  ln -s "$project/node_modules" "$tree/node_modules"
  [ ! -d toolchain/node_modules ] || ln -s "$project/toolchain/node_modules" "$tree/toolchain/node_modules"
  # As old as can be, so that its set-up does not install over what is here.
  touch -d @0 "$tree/package.json" "$tree/package-lock.json"
  make --no-print-directory -C "$tree" build >&2
fi
exec node bench/compare.ts "$tree"
