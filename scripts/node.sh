#!/usr/bin/env bash
# Runs a command with the project's Node.js and tools first on PATH: scripts/node.sh node src/main.ts --help
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
exec "$@"
