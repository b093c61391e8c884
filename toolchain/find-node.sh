# Sourced by bin/longshored and scripts/env.sh; plain POSIX sh.

# node_fits PROGRAM: is it a Node.js that longshore runs on (22.12 or newer)?
# Sets $node_version, and in $node_flags what that version needs for node:sqlite.
node_fits () {
  node_version=$("$1" --version 2>/dev/null) || return 1
  node_version=${node_version#v}
  node_major=${node_version%%.*}
  node_minor=${node_version#*.}
  node_minor=${node_minor%%.*}
  case $node_major$node_minor in *[!0-9]* | '') return 1 ;; esac
  node_flags=--disable-warning=ExperimentalWarning
  if [ "$node_major" -gt 23 ]; then return 0; fi
  if [ "$node_major" -eq 23 ]; then
    if [ "$node_minor" -lt 4 ]; then node_flags="$node_flags --experimental-sqlite"; fi
    return 0
  fi
  if [ "$node_major" -lt 22 ] || [ "$node_minor" -lt 12 ]; then return 1; fi
  if [ "$node_minor" -lt 13 ]; then node_flags="$node_flags --experimental-sqlite"; fi
}

# find_node DIRECTORY: the PATH's Node.js if it fits, else the one that the set-up brought into DIRECTORY/toolchain.
# Sets $node; fails when there is neither.
find_node () {
  for node in "$(command -v node)" "$1/toolchain/node_modules/.bin/node"; do
    if [ -n "$node" ] && node_fits "$node"; then return 0; fi
  done
  node=
  return 1
}
