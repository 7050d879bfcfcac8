# shellcheck shell=bash
# Functions shared by the scripts that manage the deployment, which source this file.
# Requires bash and Docker 26 or newer.

stack=secret-manager
service=${stack}_secret-manager
# The label of a Docker secret with a master key: the key's ID.
key_label=secret-manager.key-id
# The timeouts for a service, for an answer of the swarm, and for a task that no node can run.
wait_seconds=600
answer_seconds=30
unplaced_seconds=15
# The time between two lines about one wait, and when the last one was printed.
remind_seconds=30
reminded=0

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

say() { # say MESSAGE: print a progress message to standard error
    printf '%s\n' "$1" >&2
}

remind() { # remind START WHAT: during a long wait since START, say at times what it is for
    ((SECONDS - $1 >= remind_seconds && SECONDS - reminded >= remind_seconds)) || return 0
    reminded=$SECONDS
    say "Still waiting after $((SECONDS - $1)) s: $2."
}

check_engine() { # fail unless this node is a manager of a swarm that has a leader
    local version swarm
    # Not `command -v`: a script can have a function of this name.
    type -P docker >/dev/null || fail "docker not found: install Docker 26 or newer"
    version=$(docker version --format '{{.Server.Version}}') || fail "the Docker engine does not respond: start it, or set DOCKER_HOST"
    ((${version%%.*} >= 26)) || fail "Docker $version is too old: install Docker 26 or newer"
    swarm=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    [[ $swarm != inactive* ]] || fail "this engine is not part of a swarm: run docker swarm init"
    [[ $swarm == "active true" ]] || fail "this node is not a swarm manager: run this script on one that is"
    docker node ls -q >/dev/null || fail "the swarm has no leader: bring back managers until most of them are up"
}

await_answer() { # await_answer COMMAND…: print Docker's answer, also if the swarm is electing a leader; fail without one
    local start=$SECONDS
    while ((SECONDS - start < answer_seconds)); do
        "$@" 2>/dev/null && return
        sleep 1
    done
    "$@" || fail "the swarm does not answer: run this script again"
}

exists() { # exists NAME: succeed if the service exists
    local names
    names=$(await_answer docker service ls -f "name=$1" --format '{{.Name}}') || exit
    grep -qxF -- "$1" <<<"$names"
}

check_service() { # fail unless the service exists
    exists "$service" || fail "the service does not exist: deploy it with scripts/deploy.sh"
}

setting() { # setting NAME [PreviousSpec]: print the value in the service's environment, or nothing if it is unset
    local environment
    exists "$service" || return 0
    environment=$(await_answer docker service inspect "$service" \
        --format "{{with .${2-Spec}}}{{range .TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}{{end}}") || exit
    sed -n "s/^$1=//p" <<<"$environment"
}

keyring_config() { # print the Docker config with the service's keyring file, or nothing
    local file configs
    file=$(setting MASTER_KEYRING_FILE) || return
    [[ $file ]] || return 0
    configs=$(await_answer docker service inspect "$service" \
        --format '{{range .Spec.TaskTemplate.ContainerSpec.Configs}}{{.File.Name}} {{.ConfigName}}{{println}}{{end}}') || exit
    sed -n "s|^$file ||p" <<<"$configs"
}

have_secret() { # have_secret NAME: succeed if the Docker secret exists
    docker secret inspect "$1" >/dev/null 2>&1
}

new_key() { # print a new master key
    head -c 32 /dev/urandom | base64
}

# Prints name and key ID of each file with a master key.
# shellcheck disable=SC2034 # deploy.sh uses it, too
key_program='
import sys
from contextlib import suppress
from pathlib import Path
from marshmallow import ValidationError
from vault.config.validators import Key
from vault.crypto import MasterKey
for file in map(Path, sys.argv[1:]):
    with suppress(ValidationError):
        print(file.name, MasterKey(Key().deserialize(file.read_text().rstrip("\n"))).id)
'

key_id_of() { # key_id_of IMAGE KEY: print the key's ID
    local found
    found=$(printf '%s' "$2" | docker run --rm -i --network none --entrypoint python "$1" -c "$key_program" /dev/stdin) || return
    printf '%s' "${found#* }"
}

create_key() { # create_key IMAGE NAME KEY: create the Docker secret NAME with this master key
    local id
    id=$(key_id_of "$1" "$3") || return
    printf '%s' "$3" | docker secret create --label "$key_label=$id" "$2" - >/dev/null
    say "Created the Docker secret $2, which has the master key with the ID $id."
}

replica() { # print the container ID of a healthy replica on this node, or nothing
    local task node container
    node=$(docker info --format '{{.Swarm.NodeID}}')
    # Not one that an update is stopping.
    for task in $(docker service ps "$service" -q --no-trunc -f desired-state=running -f "node=$node" 2>/dev/null); do
        container=$(docker ps -q -f "label=com.docker.swarm.task.id=$task" -f health=healthy)
        [[ -z $container ]] || { echo "$container" && return; }
    done
}

elsewhere() { # print the names of the nodes that run replicas
    docker service ps "$service" -f desired-state=running --format '{{.Node}}' | sort -u | paste -sd ' '
}

tasks() { # tasks NAME: print state, ID and error of each task that the service should run now, one a line
    await_answer docker service ps "$1" --no-trunc -f desired-state=running -f desired-state=ready \
        --format '{{.CurrentState}}|{{.ID}}|{{.Error}}'
}

running() { # running NAME: print the number of the service's running tasks; `docker service ls` counts those of lost nodes
    local found
    found=$(tasks "$1") || exit
    grep -c '^Running' <<<"$found" || true
}

unplaced() { # unplaced NAME: print why a task of the service has no node, or nothing
    local found
    found=$(tasks "$1") || exit
    sed -n 's/^Pending[^|]*|[^|]*|"*\([^"]\+\)"*$/\1/; T; p; q' <<<"$found"
}

spec() { # spec NAME: print what makes Docker replace the service's tasks if it changes
    await_answer docker service inspect "$1" --format '{{json .Spec.TaskTemplate}} {{json .Spec.EndpointSpec}}'
}

update_state() { # update_state NAME: print the state of the service's last update, or nothing
    await_answer docker service inspect "$1" --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}'
}

is_updated() { # is_updated NAME: succeed if tasks of the service run, and none is older than its last update
    local found ids oldest started LC_ALL=C
    found=$(tasks "$1")
    mapfile -t ids < <(sed -n 's/^Running[^|]*|\([^|]*\)|.*/\1/p' <<<"$found")
    ((${#ids[@]} > 0)) || return
    oldest=$(await_answer docker inspect --type task --format '{{.CreatedAt}}' "${ids[@]}" | sort | sed -n 1p)
    started=$(await_answer docker service inspect "$1" --format '{{.UpdateStatus.StartedAt}}')
    [[ $oldest > $started ]]
}

await_update() { # await_update NAME: wait until Docker has replaced the service's tasks; fail if it cannot
    local state why now before='' start=$SECONDS moved=$SECONDS
    while true; do
        state=$(update_state "$1")
        case $state in
            completed) return ;;
            rollback_completed | rollback_paused | paused)
                fail "the update of $1 failed ($state): for the reason, run docker service logs $1. Then run this script again"
                ;;
            # Docker does not replace a task for another constraint that its node meets.
            "") ((SECONDS - start < unplaced_seconds)) || return 0 ;;
        esac
        why=$(unplaced "$1")
        # Without the age of each state.
        now=$(tasks "$1" | sed 's/^\([A-Z][a-z]*\)[^|]*|\([^|]*\)|.*/\1 \2/')
        # While one task waits for a node, others can be updated.
        if [[ -z $why || $now != "$before" ]] || grep -qvE '^(Running|Pending) ' <<<"$now"; then
            moved=$SECONDS before=$now
        fi
        if ((SECONDS - moved >= unplaced_seconds)); then
            is_updated "$1" ||
                fail "no node can run the new task of $1: $why. When one can, the update continues by itself"
            say "All running tasks of $1 are updated. No node can run another: $why."
            return
        fi
        ((SECONDS - start < wait_seconds)) || fail "the update of $1 did not finish: run docker service ps --no-trunc $1"
        remind "$start" "Docker replaces the tasks of $1, one by one (docker service ps $1)"
        sleep 1
    done
}

await_replicas() { # await_replicas COUNT: wait until that many replicas are ready, or all that a node can run
    local ready why start=$SECONDS placed=$SECONDS
    while true; do
        ready=$(running "$service")
        ((ready != $1)) || return 0
        why=$(unplaced "$service")
        [[ $why ]] && ((ready > 0)) || placed=$SECONDS
        if ((SECONDS - placed >= unplaced_seconds)); then
            say "$ready of $1 replicas are ready. No node can run another: $why."
            return
        fi
        ((SECONDS - start < wait_seconds)) || fail "the service did not become ready: $(culprit)"
        remind "$start" "$ready of $1 replicas are ready (docker service ps $service)"
        sleep 1
    done
}

await_replica_set() { # wait until the deployment's job has created the replica set and its users
    local name=${stack}_replica-set start=$SECONDS
    # Docker prints "0/1 (1/1 completed)". Its list of tasks could still lack the one of this deployment.
    until [[ $(docker service ls -f "name=$name" --format '{{.Replicas}}') == *"(1/1 completed)"* ]]; do
        ((SECONDS - start < wait_seconds)) || fail "MongoDB is not ready: $(culprit)"
        remind "$start" "the job $name prepares MongoDB (docker service logs $name)"
        sleep 1
    done
}

culprit() { # print where the reason is that the service is not ready
    local name
    # shellcheck disable=SC2154 # mongodb_placement.sh sets members
    for name in "${members[@]/#/${stack}_mongodb-}"; do
        [[ $(running "$name") != 0 || " ${absent[*]-} " == *" ${name##*-} "* ]] || {
            printf '%s does not run: run docker service ps --no-trunc %s' "$name" "$name"
            return
        }
    done
    case $(docker service ps "${stack}_replica-set" --format '{{.CurrentState}}') in
        Complete*) printf 'for the reason, run docker service logs %s' "$service" ;;
        *) printf 'the replica set is not ready either: run docker service logs %s_replica-set' "$stack" ;;
    esac
}
