#!/usr/bin/env bash
# Give a secret a new value, and restart the services of this swarm that have the old one: scripts/rotate_secret.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm rotate-secret "$@"
