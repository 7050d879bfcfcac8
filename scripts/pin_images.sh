#!/usr/bin/env bash
# Pin the third-party images of the deployment by digest: scripts/pin_images.sh --help
# shellcheck source=scripts/command.sh
source "$(dirname "$0")/command.sh" swarm pin-images --checkout "$(dirname "$0")/.." "$@"
