#!/usr/bin/env bash
# Run one command against the service that deploy.sh deployed: scripts/run_command.sh backup vault-2026-11-24.tar
# The command runs once, on this node and on MongoDB's network, with the service's image and secrets, as your user.
# It sees only the current folder, so name files without a path. An exported MONGO_URI, which must not contain a
# password, overrides that of the service.
set -euo pipefail
# shellcheck source=scripts/swarm_lib.sh
source "$(dirname "$0")/swarm_lib.sh"

secrets() { # print the options that give the job the service's Docker secrets
    docker service inspect "$service" --format \
        '{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{println .SecretName .File.Name}}{{end}}' |
        sed -n "s/\(.\+\) \(.\+\)/--secret=source=\1,target=\2,uid=$(id -u),gid=$(id -g),mode=0400/p"
}

check_engine
image=$(docker service inspect "$service" --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' 2>/dev/null) ||
    fail "the service does not exist: deploy it with scripts/deploy.sh"
mapfile -t options < <(secrets)
for name in MASTER_KEY_FILE MASTER_KEY_FALLBACKS_FILE AUDIT_TTL_DAYS; do
    options+=(--env "$name=$(setting "$name")")
done
if [[ ${MONGO_URI-} ]]; then
    options+=(--env MONGO_URI)
else
    options+=(--env "MONGO_URI_FILE=$(setting MONGO_URI_FILE)")
fi
job=secret-manager-job-$$
trap 'docker service rm "$job" >/dev/null 2>&1' EXIT
docker service create --quiet --detach --no-resolve-image --with-registry-auth --name "$job" "${options[@]}" \
    --network "${stack}_mongodb-network" --endpoint-mode dnsrr --constraint "node.id==$(docker info --format '{{.Swarm.NodeID}}')" \
    --restart-condition none --no-healthcheck --read-only --cap-drop ALL --user "$(id -u):$(id -g)" \
    --mount "type=bind,source=$PWD,target=/work" --workdir /work "$image" "$@" >/dev/null
until state=$(docker service ps "$job" --format '{{.CurrentState}}') && [[ $state =~ ^(Complete|Failed|Rejected) ]]; do
    sleep 1
done
timeout 60 docker service logs --raw "$job"
[[ $state == Complete* ]] || fail "the command failed: $(docker service ps "$job" --no-trunc --format '{{.Error}}')"
