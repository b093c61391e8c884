#!/bin/sh
# Prints the path of a Node that is at least 22.12: the machine's own, or the one that set-up brought into the checkout.
top=$(dirname "$(dirname "$(readlink -f "$0")")")
for node in "$(command -v node || true)" "$top/toolchain/node_modules/.bin/node"; do
  [ -x "$node" ] || continue
  if "$node" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 12) ? 0 : 1)' 2>/dev/null; then
    echo "$node"
    exit 0
  fi
done
echo "longshore: no Node.js of at least 22.12 here; run \`make setup\`" >&2
exit 1
