#!/usr/bin/env bash
# src/**/*.ts → dist/**/*.js
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

mkdir -p dist build
# tsc does not remove what has lost its source.
find dist -name '*.js' | while read -r file; do
  source=src/${file#dist/}
  [ -f "${source%.js}.ts" ] || rm -f -- "$file"
done
tsc -p tsconfig.build.json
