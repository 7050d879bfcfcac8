# shellcheck shell=bash
# What deploy.sh and rotate_key.sh share; sourced by them. Needs bash and Docker 26 or newer.

stack=secret-manager
service=${stack}_secret-manager

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

say() { # say MESSAGE: a step, on standard error
    printf '%s\n' "$1" >&2
}

check_engine() { # fail unless this is a manager of a swarm
    local version swarm
    command -v docker >/dev/null || fail "docker is not installed"
    version=$(docker version --format '{{.Server.Version}}') || fail "no Docker engine answers"
    ((${version%%.*} >= 26)) || fail "Docker 26 or newer is needed, this is $version"
    swarm=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    [[ $swarm != inactive* ]] || fail "this engine is in no swarm: docker swarm init"
    [[ $swarm == "active true" ]] || fail "this node is no manager of its swarm: run this on one that is"
}

setting() { # setting NAME: what the running service has in its environment; nothing if it is not there
    docker service inspect "$service" \
        --format '{{range .Spec.TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}' 2>/dev/null |
        sed -n "s/^$1=//p" || true
}

have_secret() { # have_secret NAME
    docker secret inspect "$1" >/dev/null 2>&1
}

update_went_through() { # fail if the service's last update was taken back: Docker's exit status is 0 then too
    local state
    state=$(docker service inspect "$service" --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}')
    [[ -z $state || $state == completed ]] ||
        fail "the update did not go through ($state); why is in: docker service logs $service"
}

replica() { # print the id of a healthy replica's container on this node; nothing if there is none
    docker ps -q -f "label=com.docker.swarm.service.name=$service" -f health=healthy | head -n 1
}

elsewhere() { # print the names of the nodes on which replicas run
    docker service ps "$service" -f desired-state=running --format '{{.Node}}' | sort -u | paste -sd ' '
}
