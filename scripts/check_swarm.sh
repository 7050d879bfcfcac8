#!/usr/bin/env bash
# Check the deployment on the nodes of a real swarm, from one of its managers: scripts/check_swarm.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm check-deployment "$@"
