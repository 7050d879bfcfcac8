# shellcheck shell=bash
# Functions shared by deploy.sh, rotate_key.sh, run_command.sh, rotate_secret.sh and check_swarm.sh, which source this file.
# Requires bash and Docker 26 or newer.

stack=secret-manager
service=${stack}_secret-manager

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

say() { # say MESSAGE: print a progress message to standard error
    printf '%s\n' "$1" >&2
}

check_engine() { # fail unless this node is a swarm manager
    local version swarm
    # Not `command -v`: a script can have a function of this name.
    type -P docker >/dev/null || fail "docker not found: install Docker 26 or newer"
    version=$(docker version --format '{{.Server.Version}}') || fail "the Docker engine does not respond: start it, or set DOCKER_HOST"
    ((${version%%.*} >= 26)) || fail "Docker $version is too old: install Docker 26 or newer"
    swarm=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    [[ $swarm != inactive* ]] || fail "this engine is not part of a swarm: run docker swarm init"
    [[ $swarm == "active true" ]] || fail "this node is not a swarm manager: run this script on one that is"
}

setting() { # setting NAME: print the value in the running service's environment, or nothing if it is unset
    docker service inspect "$service" \
        --format '{{range .Spec.TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}' 2>/dev/null |
        sed -n "s/^$1=//p" || true
}

have_secret() { # have_secret NAME: succeed if the Docker secret exists
    docker secret inspect "$1" >/dev/null 2>&1
}

update_went_through() { # fail if the service's last update was rolled back: Docker's exit status is 0 even then
    local state
    state=$(docker service inspect "$service" --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}')
    [[ -z $state || $state == completed ]] ||
        fail "the update failed ($state): for the reason, run docker service logs $service"
}

replica() { # print the container ID of a healthy replica on this node, or nothing
    docker ps -q -f "label=com.docker.swarm.service.name=$service" -f health=healthy | head -n 1
}

elsewhere() { # print the names of the nodes that run replicas
    docker service ps "$service" -f desired-state=running --format '{{.Node}}' | sort -u | paste -sd ' '
}
