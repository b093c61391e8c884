#!/usr/bin/env bash
# Runs a command with the project's Node.js and tools first on PATH: scripts/node.sh tap test/e2e/main-job.test.ts
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
exec "$@"
