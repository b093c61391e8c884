# Sourced by the scripts: goes to the project's top directory and puts a Node.js that fits, and the tools of node_modules,
# first on PATH. Where the machine's Node.js is too old, its npm brings node@24 into toolchain/ (the lockfile pins it).
set -euo pipefail

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$project"

. toolchain/find-node.sh

if ! find_node "$project"; then
  if ! command -v npm >/dev/null; then
    echo "longshore needs Node.js 22.12 or newer with npm: install it from your distribution or from nodejs.org, then run this again" >&2
    exit 1
  fi
  echo "This machine's Node.js ($(node --version 2>/dev/null || echo none)) is older than 22.12: bringing node@24 into toolchain/" >&2
  { npm ci --prefix toolchain --no-fund --no-audit --loglevel=error || npm ci --prefix toolchain --no-fund --no-audit --loglevel=error; } >/dev/null
  find_node "$project" || { echo "toolchain/node_modules/.bin/node does not run on this machine" >&2; exit 1; }
fi

PATH=$project/node_modules/.bin:$(dirname -- "$node"):$PATH

# Tests and scripts are TypeScript, run as it stands. Node.js strips types by itself from 22.18 and 23.6 on.
case $node_version in
  22.1[2-7].* | 23.[0-5].*) NODE_OPTIONS="${NODE_OPTIONS:-} --experimental-strip-types $node_flags" ;;
  22.* | 23.*) NODE_OPTIONS="${NODE_OPTIONS:-} $node_flags" ;;
esac
export PATH ${NODE_OPTIONS+NODE_OPTIONS}
