#!/usr/bin/env bash
# Give a secret a new value, and restart the services of this swarm that have the old one: scripts/rotate_secret.sh --help
set -euo pipefail
# shellcheck source=scripts/swarm_lib.sh
source "$(dirname "$0")/swarm_lib.sh"

usage() {
    cat <<'END'
Usage: scripts/rotate_secret.sh NAME [FILE|-] [OPTION…]

Stores the content of FILE, or of standard input (-), as the new value of the secret NAME, and restarts, one after
another, the services of this swarm that have the old one. If one is not healthy, value and services are rolled back.
Without FILE, asks for the value. OPTIONs are those of `secret-manager swarm rotate`, such as --generate 32.

Runs that command from the service's image on this manager, and needs nothing but Docker. For a service that
deploy.sh deployed, a replica must run on this node; for another one, export VAULT_URL. The token comes from the
exported VAULT_TOKEN, or is asked for. docs/swarm-rotation.md has its scopes. If it is a JWT that matches several roles,
export the name of one as VAULT_ROLE. If another CA than the system's signed the service's certificate, export its file
as VAULT_CACERT.

-h, --help  print this text
END
}

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
"" | -*)
    usage >&2
    exit 2
    ;;
esac
name=$1
shift
file=
if [[ $# -gt 0 && ($1 == - || $1 != -*) ]]; then
    file=$1
    shift
fi

for option; do
    [[ $option != --ca-cert* ]] || fail "export VAULT_CACERT instead of --ca-cert: the command runs in a container"
done

check_engine
docker_host=${DOCKER_HOST:-unix:///var/run/docker.sock}
[[ $docker_host == unix://* ]] || fail "DOCKER_HOST must be a socket of this machine: run this script on a manager"
docker_socket=${docker_host#unix://}
if [[ ${VAULT_URL-} ]]; then
    image=${IMAGE:-secret-manager:latest}
    network=host
else
    container=$(replica)
    [[ $container ]] || fail "no replica is ready on this node: run this script on a manager among $(elsewhere), or export VAULT_URL"
    image=$(docker inspect --format '{{.Image}}' "$container")
    # The replica's own network: the value does not leave this node.
    network=container:$container
    bind=$(setting BIND)
    bind=${bind:-0.0.0.0:8000}
    VAULT_URL=http://127.0.0.1:${bind##*:}
fi
token=${VAULT_TOKEN-}
if [[ -z $token ]]; then
    [[ -t 0 ]] || fail "export VAULT_TOKEN: there is no terminal to ask for it"
    read -rsp "Token: " token
    say ""
fi

[[ -S $docker_socket ]] || fail "$docker_socket is not a socket: start Docker, or set DOCKER_HOST"

# In a file, in memory: Docker shows the variables of a container to anyone who may use it.
folder=$(mktemp -d /dev/shm/rotate-secret.XXXXXX)
trap 'rm -rf "$folder"' EXIT
(umask 077 && printf '%s' "$token" >"$folder/token")
options=(--interactive)
if [[ ${VAULT_CACERT-} ]]; then
    [[ -f $VAULT_CACERT ]] || fail "VAULT_CACERT must be a file with certificates in PEM"
    options+=(--mount "type=bind,source=$(realpath "$VAULT_CACERT"),target=/run/ca.pem,readonly" --env VAULT_CACERT=/run/ca.pem)
fi
[[ $file || ! -t 0 ]] || options+=(--tty)
if [[ -n $file && $file != - ]]; then
    exec <"$file"
fi
docker run --rm --pull never --no-healthcheck "${options[@]}" --network "$network" --user "$(id -u):$(stat -Lc %g "$docker_socket")" \
    --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 30 \
    --mount "type=bind,source=$docker_socket,target=/var/run/docker.sock" \
    --mount "type=bind,source=$folder/token,target=/run/token,readonly" \
    --env "VAULT_URL=$VAULT_URL" --env "VAULT_ROLE=${VAULT_ROLE-}" --env DOCKER_HOST=unix:///var/run/docker.sock \
    "$image" swarm rotate "$name" ${file:+-} --token-file /run/token --owner "$(hostname), process $$" "$@"
