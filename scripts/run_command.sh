#!/usr/bin/env bash
# Run one command against the service that deploy.sh deployed: scripts/run_command.sh backup vault-2026-11-24.tar
# The command runs once, on this node and the service's networks, with its image, secrets and mounts, as your user.
# It sees only the current folder, so name files without a path. An exported MONGO_URI, which must not contain a
# password, overrides that of the service.
set -euo pipefail
# shellcheck source=scripts/swarm_lib.sh
source "$(dirname "$0")/swarm_lib.sh"
# shellcheck source=scripts/swarm_jobs.sh
source "$(dirname "$0")/swarm_jobs.sh"

check_engine
image=$(service_image)
options=$(like_service "$(id -u)" "$(id -g)")
mapfile -t options <<<"$options"
[[ -z ${MONGO_URI-} ]] || options=("${options[@]/#--env=MONGO_URI_FILE=*/--env=MONGO_URI}")
run_job "${options[@]}" "$(this_node)" --user "$(id -u):$(id -g)" --mount "type=bind,source=$PWD,target=/work" \
    --workdir /work "$image" "$@"
