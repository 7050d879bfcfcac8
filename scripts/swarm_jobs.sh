# shellcheck shell=bash
# One-shot jobs with the service's image, Docker secrets and networks; scripts source this file after swarm_lib.sh.
# Not in a replica: an update moves replicas, and a manager may have none.
# shellcheck disable=SC2154 # swarm_lib.sh sets these variables

jobs=secret-manager-job-$$
started=0
# The exit code if the command of a job fails. run_command.sh empties it, and exits with the command's own.
failed_status=1
trap 'end_jobs' EXIT

end_jobs() { # remove all jobs of this script
    local found
    mapfile -t found < <(docker service ls -q -f "name=$jobs-" 2>/dev/null)
    ((${#found[@]} == 0)) || docker service rm "${found[@]}" >/dev/null 2>&1 || true
}

service_image() { # print the service's image
    check_service
    await_answer docker service inspect "$service" --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}'
}

this_node() { # print the option that keeps a job on this node
    printf -- '--constraint=node.id==%s' "$(docker info --format '{{.Swarm.NodeID}}')"
}

near() { # print the option that keeps a job on this node, unless the node is drained
    # Docker does not always return the logs of a node that was down before.
    [[ $(docker node inspect self --format '{{.Spec.Availability}}') != active ]] || this_node
}

like_service() { # like_service USER GROUP: print options that give a job what the service has, one a line
    local settings='MASTER_KEY_FILE|MASTER_KEY_FALLBACKS_FILE|MONGO_URI_FILE|TOKEN_MAX_DAYS'
    settings+='|MASTER_KEYRING_FILE|CUSTODY_TIMEOUT_SECONDS|TRANSIT_TOKEN_FILE|TRANSIT_CA|PKCS11_MODULE|PKCS11_PIN_FILE|AWS_[A-Z_]+'
    settings+='|AUDIT_ENABLED|AUDIT_TTL_DAYS|AUDIT_SINK|AUDIT_SINK_REQUIRED'
    settings+='|AUDIT_WITNESSES|AUDIT_WITNESS_MINUTES|AUDIT_WITNESS_TOKEN_FILE|AUDIT_WITNESS_CA'
    # AUDIT_SINK can be a host outside MongoDB's network, or a file that the service mounts.
    printf -- '--network=%s_secret-manager-network\n' "$stack"
    # shellcheck disable=SC2016 # Go's variables
    await_answer docker service inspect "$service" --format '{{with .Spec.TaskTemplate.ContainerSpec}}
        {{- range .Mounts}}--mount=type={{.Type}},source={{.Source}},target={{.Target}},readonly={{.ReadOnly}}
            {{- with .VolumeOptions}}{{with .DriverConfig}},volume-driver={{.Name}}
                {{- range $name, $value := .Options}},"volume-opt={{$name}}={{$value}}"{{end}}{{end}}{{end}}{{println}}{{end}}
        {{- range .Configs}}--config=source={{.ConfigName}},target={{.File.Name}},mode={{printf "%#o" .File.Mode}}{{println}}{{end}}
        {{- range .Secrets}}--secret=source={{.SecretName}},target={{.File.Name}}{{println}}{{end}}
        {{- range .Env}}--env={{println .}}{{end}}{{end}}' |
        sed -En "/^--(mount|config)=/p; s/^--secret=.*/&,uid=$1,gid=$2,mode=0400/p; /^--env=($settings)=/p"
}

start_job() { # start_job OPTIONS… IMAGE ARGUMENTS…: start a job, in place of the one before
    end_jobs
    # Docker can still have the container of an earlier job.
    started=$((started + 1))
    job=$jobs-$BASHPID-$started
    docker service create --quiet --detach --no-resolve-image --with-registry-auth --name "$job" --endpoint-mode dnsrr \
        --network "${stack}_mongodb-network" --restart-condition none --no-healthcheck --init --read-only --cap-drop ALL \
        "$@" >/dev/null
}

is_lost() { # is_lost NODE: succeed if the node is down, or no longer in the swarm
    local state
    if ! state=$(docker node inspect "$1" --format '{{.Status.State}}' 2>/dev/null); then
        docker node ls -q >/dev/null 2>&1
        return
    fi
    [[ $state == down ]]
}

command_failed() { # command_failed ERROR: fail, because the command of a job did
    local status=$failed_status
    # Docker's words: "task: non-zero exit (3)".
    [[ $status || ! $1 =~ non-zero\ exit\ \(([0-9]+)\) ]] || status=${BASH_REMATCH[1]}
    say "${0##*/}: the command failed: $1"
    exit "${status:-1}"
}

await_job() { # await_job STATES: return when the job's state matches; fail if it ended otherwise, or cannot start
    local state node error start=$SECONDS placed=$SECONDS known=$SECONDS
    while true; do
        # Two nodes can have one name.
        IFS='|' read -r state node error < <(docker service ps "$job" --no-trunc --no-resolve \
            --format '{{.CurrentState}}|{{.Node}}|{{.Error}}') && known=$SECONDS
        # While the swarm elects a leader, it does not answer.
        ((SECONDS - known < wait_seconds)) || fail "the swarm does not answer: run this script again"
        [[ ! $state =~ ^($1) ]] || return 0
        [[ ! $state =~ ^(Complete|Failed|Rejected|Shutdown|Orphaned|Remove) ]] || command_failed "$error"
        [[ $state == Pending* && $error ]] || placed=$SECONDS
        ((SECONDS - placed < unplaced_seconds)) ||
            fail "no node can run the command: ${error//\"/}. Run this script on a manager that is not drained, or make room"
        [[ -z $node ]] || ! is_lost "$node" ||
            fail "node $node is lost, and the command with it: it may or may not have taken effect. Run this script again"
        # A command that runs has no limit: a backup can take hours.
        [[ -z $state || $state == Running* ]] || ((SECONDS - start < wait_seconds)) ||
            fail "the command did not start, its state is $state: run this script again"
        sleep 1
    done
}

run_job() { # run_job OPTIONS… IMAGE ARGUMENTS…: run a job to its end, and print its output; fail if the command does
    local container
    start_job "$@" || return
    (await_job 'Complete|Failed') || return
    container=$(docker ps -aq -f "label=com.docker.swarm.service.name=$job")
    if [[ $container ]]; then
        docker logs "$container"
    else
        timeout 60 docker service logs --raw "$job"
    fi
    await_job Complete
}
