#!/usr/bin/env bash
# Rotate the master key of the service that deploy.sh deployed: scripts/rotate_key.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm rotate-key "$@"
