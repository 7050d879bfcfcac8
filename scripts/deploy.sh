#!/usr/bin/env bash
# Deploy for production, and update a deployment: scripts/deploy.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm deploy --checkout "$(dirname "$0")/.." "$@"
