#!/usr/bin/env bash
# Copies what runs (no sources, no packages: they are inside dist/) to $DESTDIR$PREFIX/lib/longshore, and links longshored into $PREFIX/bin.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

prefix=${PREFIX:-/usr/local}
target=${DESTDIR:-}$prefix/lib/longshore

# Beside the old one first, then swapped in: a copy that fails half-way leaves the old one as it was.
new=$target.new
rm -rf -- "$new"
install -d -- "$new/build" "$new/toolchain" "${DESTDIR:-}$prefix/bin"
cp -R bin dist package.json LICENSE README.md "$new/"
install -m 0755 build/longshore.node build/longshore-shim "$new/build/"
install -m 0644 toolchain/find-node.sh "$new/toolchain/"

# Where the machine's Node.js is too old the one from the set-up goes along.
case $node in "$project"/*) install -D -m 0755 -- "$(readlink -f -- "$node")" "$new/toolchain/node_modules/.bin/node" ;; esac

old=$target.old
rm -rf -- "$old"
[ ! -d "$target" ] || mv -- "$target" "$old"
mv -- "$new" "$target"
rm -rf -- "$old"
ln -sfn ../lib/longshore/bin/longshored "${DESTDIR:-}$prefix/bin/longshored"
echo "Installed ${DESTDIR:-}$prefix/bin/longshored. Next: make install-unit, or longshored --help"
