#!/usr/bin/env bash
# src/**/*.ts → dist/**/*.js
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

mkdir -p dist build
# tsc is incremental, so it neither makes again what somebody removed from dist/ nor removes what has lost its source.
[ -f dist/main.js ] || rm -f build/dist.tsbuildinfo
find dist -name '*.js' | while read -r file; do
  source=src/${file#dist/}
  [ -f "${source%.js}.ts" ] || rm -f -- "$file"
done
tsc -p tsconfig.build.json
