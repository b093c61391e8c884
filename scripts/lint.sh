#!/usr/bin/env bash
# Code style and the rules of the house (eslint.config.js), then openapi.yaml (redocly.yaml).
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

eslint .
# Neither telemetry nor a look for updates: lint must not need a network.
REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true redocly lint openapi.yaml
