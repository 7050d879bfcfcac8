#!/usr/bin/env bash
# Run one command against the service that deploy.sh deployed: scripts/run_command.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm run "$@"
