#!/usr/bin/env bash
# Run one command against the service that deploy.sh deployed: scripts/run_command.sh --help
set -euo pipefail
# shellcheck source=scripts/usage.sh
source "$(dirname "$0")/usage.sh"

usage() { # print the usage
    cat <<'END'
Usage: scripts/run_command.sh COMMAND [ARGUMENT]...

Runs one command of secret-manager against the service that deploy.sh deployed, from a manager of its swarm. The
command runs once, on this node and the service's networks, with its image, secrets and mounts, as your user. It sees
only the current folder, so name files without a path.

    scripts/run_command.sh backup vault-2026-11-24.tar
    scripts/run_command.sh tokens --help

-h, --help   print this text; after COMMAND, it is an option of the command

MONGO_URI    a database in place of the service's; it must not contain a password
DOCKER_HOST  the Docker engine, if not the default one

Exit codes: the command's own (docs/exit-codes.md), or 1 if it did not start, 2 for wrong usage
END
}

answer_help "$@"
[[ ${1-} ]] || misused "expected a command"
[[ $1 != -* ]] || misused "unknown option"

# shellcheck source=scripts/swarm_lib.sh
source "$(dirname "$0")/swarm_lib.sh"
# shellcheck source=scripts/swarm_jobs.sh
source "$(dirname "$0")/swarm_jobs.sh"

# shellcheck disable=SC2034 # swarm_jobs.sh uses it
failed_status=
check_engine
image=$(service_image)
options=$(like_service "$(id -u)" "$(id -g)")
mapfile -t options <<<"$options"
[[ -z ${MONGO_URI-} ]] || options=("${options[@]/#--env=MONGO_URI_FILE=*/--env=MONGO_URI}")
run_job "${options[@]}" "$(this_node)" --user "$(id -u):$(id -g)" --mount "type=bind,source=$PWD,target=/work" \
    --workdir /work "$image" "$@"
