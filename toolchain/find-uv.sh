#!/bin/sh
# Prints the directory of libuv's headers; fails where there is none. Node.js brings its own with it, the distributions
# have them apart. Which 1.x they are of does not matter: its ABI is kept over all of them.
top=$(cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
node=$(readlink -f -- "$(command -v node || echo /usr/bin/node)")
for directory in "$top"/toolchain/node_modules/node/node_modules/node-*/include/node "$top"/toolchain/node_modules/node-*/include/node \
  "$(dirname -- "$node")/../include/node" /usr/include/node /usr/include; do
  if [ -f "$directory/uv.h" ]; then
    echo "$directory"
    exit
  fi
done
exit 1
