# shellcheck shell=bash
# One-shot jobs with the service's image, Docker secrets and networks; scripts source this file after swarm_lib.sh.
# Not in a replica: an update moves replicas, and a manager may have none.
# shellcheck disable=SC2154 # swarm_lib.sh sets these variables

job=secret-manager-job-$$
trap 'end_job' EXIT

end_job() { # remove the job
    docker service rm "$job" >/dev/null 2>&1 || true
}

service_image() { # print the service's image
    docker service inspect "$service" --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' 2>/dev/null ||
        fail "the service does not exist: deploy it with scripts/deploy.sh"
}

this_node() { # print the option that keeps a job on this node
    printf -- '--constraint=node.id==%s' "$(docker info --format '{{.Swarm.NodeID}}')"
}

near() { # print the option that keeps a job on this node, unless the node is drained
    # Docker does not always return the logs of a node that was down before.
    [[ $(docker node inspect self --format '{{.Spec.Availability}}') != active ]] || this_node
}

like_service() { # like_service USER GROUP: print options that give a job the service's secrets and settings, one a line
    local name
    docker service inspect "$service" --format \
        '{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{println .SecretName .File.Name}}{{end}}' |
        sed -n "s/\(.\+\) \(.\+\)/--secret=source=\1,target=\2,uid=$1,gid=$2,mode=0400/p"
    for name in MASTER_KEY_FILE MASTER_KEY_FALLBACKS_FILE MONGO_URI_FILE AUDIT_TTL_DAYS; do
        printf -- '--env=%s=%s\n' "$name" "$(setting "$name")"
    done
}

start_job() { # start_job OPTIONS… IMAGE ARGUMENTS…: start a job, in place of the one before
    end_job
    docker service create --quiet --detach --no-resolve-image --with-registry-auth --name "$job" --endpoint-mode dnsrr \
        --network "${stack}_mongodb-network" --restart-condition none --no-healthcheck --init --read-only --cap-drop ALL \
        "$@" >/dev/null
}

await_job() { # await_job STATES: return when the job's state matches; fail if it ended otherwise, or cannot start
    local state node error housed=$SECONDS known=$SECONDS
    while true; do
        IFS='|' read -r state node error < <(docker service ps "$job" --no-trunc --format '{{.CurrentState}}|{{.Node}}|{{.Error}}') &&
            known=$SECONDS
        # While the swarm elects a leader, it does not answer.
        ((SECONDS - known < wait_seconds)) || fail "the swarm does not answer: run this script again"
        [[ ! $state =~ ^($1) ]] || return 0
        [[ ! $state =~ ^(Complete|Failed|Rejected|Shutdown|Orphaned|Remove) ]] || fail "the command failed: $error"
        [[ $state == Pending* && $error ]] || housed=$SECONDS
        ((SECONDS - housed < homeless_seconds)) ||
            fail "no node can run the command: ${error//\"/}. Run this script on a manager that is not drained, or make room"
        [[ -z $node || $(docker node inspect "$node" --format '{{.Status.State}}') != down ]] ||
            fail "node $node is down, and the command with it: it may or may not have taken effect. Run this script again"
        sleep 1
    done
}

run_job() { # run_job OPTIONS… IMAGE ARGUMENTS…: run a job to its end, and print its output; fail if the command does
    local container
    start_job "$@"
    (await_job 'Complete|Failed') || return
    container=$(docker ps -aq -f "label=com.docker.swarm.service.name=$job")
    if [[ $container ]]; then
        docker logs "$container"
    else
        timeout 60 docker service logs --raw "$job"
    fi
    await_job Complete
}
