#!/usr/bin/env bash
# src/**/*.ts and the packages that it uses → dist/. Types are checked by `make types`, not here.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

exec node scripts/compile.ts
