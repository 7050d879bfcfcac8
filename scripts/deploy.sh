#!/usr/bin/env bash
# Deploy for production, and update a deployment: scripts/deploy.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/deploy.sh [STACK_FILE]...

Deploys for production, from a manager of a swarm: builds the image, creates missing Docker secrets, deploys stack.yml
and deploy/stack.secure.yml, waits until the service is ready, and creates the first admin token. You can run it again,
also to update: it restarts MongoDB's members one at a time, and only if their settings or image have changed. With a
stack file that sets MASTER_KEYRING_FILE, such as deploy/stack.custody.yml, the service gets a keyring file and no
master key.

STACK_FILE  an additional stack file; a relative path begins in the checkout
-h, --help  print this text

IMAGE                 an image in a registry that all nodes can reach, such as
                      registry.example.com/secret-manager:1.0; required with several nodes (default: build one)
REPLICAS              the number of replicas (default: the current number, or 2)
MASTER_KEY            the first master key (default: that of a running quick start, or a new one)
MASTER_KEY_SECRET     the Docker secret with the master key, if there are several
KEYRING_CONFIG        the Docker config with the keyring file (default: the current one, or keyring_v1)
IMAGES_FILE           the digests that scripts/pin_images.sh wrote (default: images.env); exported variables, such as
                      PYTHON_IMAGE and MONGO_IMAGE, take precedence
DOCKER_BUILD_OPTIONS  options for docker build
DOCKER_HOST           the Docker engine, if not the default one

The stack files read further variables, such as PUBLISHED_PORT and AUDIT_TTL_DAYS.

Exit codes: 0 deployed, 1 refused or failed, 2 wrong usage
END
}

answer_help "$@"
# Docker reads the files only after Docker secrets were created.
for file; do
    [[ $file != -* ]] || misused "unknown option"
    [[ -r $file ]] || misused "no such stack file: $file"
done

# shellcheck source=scripts/swarm_lib.sh
source scripts/swarm_lib.sh
# shellcheck source=scripts/swarm_jobs.sh
source scripts/swarm_jobs.sh
# shellcheck source=scripts/mongodb_placement.sh
source scripts/mongodb_placement.sh
# shellcheck source=scripts/mongodb_members.sh
source scripts/mongodb_members.sh
images=${IMAGES_FILE:-images.env}

random() { # random BYTES: print that many random bytes in hexadecimal
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

secret() { # secret NAME COMMAND…: create the Docker secret from the command's output, unless it exists
    local name=$1
    shift
    have_secret "$name" && return
    "$@" | docker secret create "$name" - >/dev/null
    say "Created the Docker secret $name."
}

remove_placeholder() { # make room for MongoDB's key: stack.yml holds its name during a trial
    local trial
    trial=$(docker secret inspect mongodb_key_file --format '{{index .Spec.Labels "secret-manager.trial"}}' 2>/dev/null) || return 0
    [[ -z $trial ]] || docker secret rm mongodb_key_file >/dev/null
}

check_key() { # fail if MASTER_KEY is set but invalid, or differs from a quick start's: a Docker secret is immutable
    local running LC_ALL=C
    running=$(setting MASTER_KEY)
    MASTER_KEY=${MASTER_KEY:-$running}
    [[ -z $running || $running == "$MASTER_KEY" ]] || fail "the running service uses another MASTER_KEY: unset the exported one"
    [[ -z $MASTER_KEY || $MASTER_KEY =~ ^([ -~]{32}|[A-Za-z0-9+/]{43}=)$ ]] ||
        fail "MASTER_KEY must be the base64 of 32 bytes, or exactly 32 characters"
    # The service rejects a weak key too, but by then the key is in a Docker secret, which is immutable.
    [[ -z $MASTER_KEY ]] || (($(distinct_bytes) > 4)) ||
        fail "MASTER_KEY is too easy to guess: create one with secret-manager keys generate"
}

distinct_bytes() { # print the number of distinct bytes in MASTER_KEY
    if ((${#MASTER_KEY} == 32)); then
        printf '%s' "$MASTER_KEY"
    else
        printf '%s' "$MASTER_KEY" | base64 -d
    fi | od -An -v -tx1 -w1 | sort -u | wc -l
}

use_pinned_images() { # export the digests that scripts/pin_images.sh wrote, except for exported variables
    local name image
    if [[ ! -e $images ]]; then
        say "Base images are selected by tag. To pin them by digest, run scripts/pin_images.sh."
        return
    fi
    while IFS='=' read -r name image; do
        [[ $name =~ ^[A-Z]+_IMAGE$ ]] || fail "$images was not written by scripts/pin_images.sh: delete it, or run that script"
        export "$name=${!name:-$image}"
    done <"$images"
}

key_file() { # print a key file for MongoDB
    head -c 756 /dev/urandom | base64 -w0
}

mongo_uri() { # print a connection string with a random password
    printf 'mongodb://secret-manager:%s@mongodb-1,mongodb-2,mongodb-3/vault?replicaSet=rs0' "$(random 24)"
}

held_keys() { # print each Docker secret with a master key, and the key's ID, if known
    local found unknown name options=()
    found=$(await_answer docker secret ls -f name=master_key_v --format "{{.Name}} {{.Label \"$key_label\"}}") || return
    mapfile -t unknown < <(sed -n 's/ $//p' <<<"$found")
    # Earlier versions set no label.
    if ((${#unknown[@]} > 0)) && exists "$service"; then
        for name in "${unknown[@]}"; do
            options+=("--secret=source=$name,target=$name,uid=10001,gid=10001,mode=0400")
        done
        # shellcheck disable=SC2046 # `near` prints at most one word
        found+=$'\n'$(run_job $(near) "${options[@]}" --limit-memory 256M \
            --entrypoint python "$IMAGE" -c "$key_program" "${unknown[@]/#//run/secrets/}") || true
    fi
    # Of two lines about one secret, the one with the ID.
    awk 'NF { ids[$1] = $2 ? $2 : ids[$1] } END { for (name in ids) print name, ids[name] }' <<<"$found" | sort -V
}

key_name() { # key_name HELD: print the name of the Docker secret for the service's master key
    local name key id names number=1
    mapfile -t names < <(sed -n 's/ .*//p' <<<"$1")
    name=$(setting MASTER_KEY_FILE) || return
    name=${name:-${MASTER_KEY_SECRET-}}
    key=$(setting MASTER_KEY) || return
    if [[ -z $name && $MASTER_KEY ]]; then
        id=$(key_id_of "$IMAGE" "$MASTER_KEY") || return
        name=$(sed -n "s/ $id\$//p" <<<"$1" | sed -n '$p')
    fi
    # An exported key can be in a secret whose key is unknown.
    if [[ -z $name && $MASTER_KEY ]] && { [[ $key ]] || ! grep -q ' $' <<<"$1"; }; then
        while have_secret "master_key_v$number"; do ((number += 1)); done
        name=master_key_v$number
    fi
    [[ $name ]] || ((${#names[@]} < 2)) ||
        fail "several master keys found: set MASTER_KEY_SECRET to the newest one that data is encrypted under"
    name=${name:-${names[0]:-master_key_v1}}
    printf '%s' "${name##*/}"
}

without_key() { # remove the Docker secret with the master key from a stack file as Docker prints it
    # What is below a line that is left out is indented further.
    awk '{ indent = match($0, /[^ ]/) }
        hidden && indent > hidden { next }
        { hidden = /^ +- source: master_key$|^  master_key:$|^ +MASTER_KEY_FILE:/ ? indent : 0 }
        !hidden'
}

service_names() { # print the names of the services in the stack files, one a line
    printf '%s\n' "$stack_file" |
        awk '/^[^ ]/ { in_services = /^services:/ } in_services && /^  [^ ]/ { print substr($1, 1, length($1) - 1) }'
}

deploy_services() { # deploy_services NAME…: deploy these services of the stack files, and leave all others as they are
    # With --prune, or if the file named the others, Docker would change them too. Docker expands variables again,
    # so each dollar sign is doubled.
    printf '%s\n' "${stack_file//\$/\$\$}" | awk -v names=" $* " '
        /^[^ ]/ { in_services = /^services:/; wanted = 1 }
        in_services && /^  [^ ]/ { wanted = index(names, " " substr($1, 1, length($1) - 1) " ") }
        wanted' |
        docker stack deploy --detach --quiet --with-registry-auth --resolve-image "$resolve" -c - "$stack" >/dev/null
}

is_trial() { # succeed if a replica is a quick start's: it has no file with MongoDB's password
    local found ids
    exists "$service" || return
    found=$(tasks "$service") || exit
    mapfile -t ids < <(sed -n 's/^[^|]*|\([^|]\+\)|.*/\1/p' <<<"$found")
    ((${#ids[@]} > 0)) || return
    # A task can be gone by now.
    found=$(docker inspect --type task --format '{{.Spec.ContainerSpec.Env}}' "${ids[@]}" 2>/dev/null) || true
    [[ $found ]] && grep -qv MONGO_URI_FILE= <<<"$found"
}

first_token() { # print the first token, unless there is one
    local container tokens options
    container=$(replica)
    if [[ -z $container ]]; then
        # The token must not be in a log, so this needs a container on this node.
        options=$(like_service 10001 10001)
        mapfile -t options <<<"$options"
        start_job "${options[@]}" "$(this_node)" --limit-memory 256M --entrypoint sleep "$IMAGE" 600
        (await_job Running) || {
            say "If there is no token yet, run on $(elsewhere): docker exec CONTAINER secret-manager tokens create --name admin --role admin"
            return
        }
        container=$(docker ps -q -f "label=com.docker.swarm.service.name=$job")
    fi
    tokens=$(docker exec "$container" secret-manager tokens list --json)
    [[ -z $tokens ]] || return 0
    printf 'The first token, with the role admin. It is not shown again:\n'
    docker exec "$container" secret-manager tokens create --name admin --role admin
}

next_steps() { # print what to do after a deployment
    local container
    container=$(replica)
    [[ $container ]] || say "The replicas run on $(elsewhere): run the commands below there."
    : "${container:=CONTAINER}"
    printf 'Next steps:\n'
    if [[ $keyring ]]; then
        cat <<END
- Keep a copy of the keyring file, and shares of a recovery slot: docs/custody.md. Without them, no secret can be
  decrypted if its providers are lost.
END
    else
        cat <<END
- Keep a copy of the master key in a safe place. Without it, no secret can be decrypted.
    docker exec $container cat /run/secrets/$MASTER_KEY_SECRET
END
    fi
    cat <<END
- Create a token for each application:
    docker exec $container secret-manager tokens create --name app --role writer
- Rotate the master key regularly: scripts/rotate_key.sh
END
}

check_engine
fallbacks=$(setting MASTER_KEY_FALLBACKS_FILE)
[[ -z $fallbacks ]] || fail "a rotation is in progress: finish it with scripts/rotate_key.sh"
fallbacks=${MASTER_KEY_FALLBACKS-}$(setting MASTER_KEY_FALLBACKS)
[[ -z $fallbacks ]] ||
    fail "anyone who can inspect the service sees MASTER_KEY_FALLBACKS: finish that rotation (keys rewrap), then unset it"
[[ ${RATE_LIMIT_STORAGE_URI-} != mongodb*@* ]] ||
    fail "anyone who can inspect the service sees RATE_LIMIT_STORAGE_URI: set RATE_LIMIT_STORAGE_URI_FILE (docs/install-swarm.md)"
for name in AUDIT_WITNESS_TOKEN OIDC_CLIENT_SECRET; do
    [[ -z ${!name-} ]] ||
        fail "anyone who can inspect the service sees $name: unset it, and set ${name}_FILE in a stack file (docs/install-swarm.md)"
done
keyring=
if (($# > 0)) && grep -qE "^[^#]*\\bMASTER_KEYRING_FILE[\"']?[:=] *[^ ]" -- "$@"; then
    keyring=true
    KEYRING_CONFIG=${KEYRING_CONFIG:-$(keyring_config)}
    export KEYRING_CONFIG=${KEYRING_CONFIG:-keyring_v1}
    docker config inspect "$KEYRING_CONFIG" >/dev/null 2>&1 ||
        fail "there is no keyring file: run docker config create $KEYRING_CONFIG keyring.json (docs/custody.md)"
else
    [[ ! $(setting MASTER_KEYRING_FILE) ]] ||
        fail "the service has a keyring file: add the stack file that sets MASTER_KEYRING_FILE, such as deploy/stack.custody.yml"
    check_key
fi
await_nodes
find_members
report_nodes
use_pinned_images
# Not `always`: if mongo:7.0 became another image, all members of the replica set would restart at the same time.
resolve=changed
if [[ -z ${IMAGE-} ]]; then
    (($(docker node ls -q | wc -l) == 1)) || fail "the swarm has several nodes: push the image to a registry and set IMAGE"
    say "Building the image."
    # shellcheck disable=SC2086 # split the options into words
    docker build --quiet ${DOCKER_BUILD_OPTIONS-} ${PYTHON_IMAGE:+--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"} \
        -t secret-manager:latest . >/dev/null
    # Name the image by its content: under an unchanged name, Swarm would not notice a new image.
    IMAGE=$(docker image inspect secret-manager:latest --format '{{.Id}}')
    IMAGE=${IMAGE#sha256:}
    IMAGE=secret-manager:${IMAGE:0:12}
    docker tag secret-manager:latest "$IMAGE"
    resolve=never
fi
if [[ $keyring ]]; then
    MASTER_KEY_SECRET=
else
    held=$(held_keys)
    while read -r name id; do
        say "The Docker secret $name has the master key with the ID ${id:-unknown}."
    done < <(sed '/./!d' <<<"$held")
    MASTER_KEY_SECRET=$(key_name "$held")
    have_secret "$MASTER_KEY_SECRET" || create_key "$IMAGE" "$MASTER_KEY_SECRET" "${MASTER_KEY:-$(new_key)}"
fi
remove_placeholder
secret mongodb_key_file key_file
secret mongodb_root_password random 24
secret mongo_uri mongo_uri
place_members
before=
if exists "$service"; then
    before=$(spec "$service")
    state=$(update_state "$service")
    # The deployment before was interrupted: its update can still be running, although nothing changes now.
    [[ $state =~ ^(|completed|rollback_completed)$ ]] || before=$state
    # Keep the current scale: a deployment would reset it.
    REPLICAS=${REPLICAS:-$(await_answer docker service inspect "$service" --format '{{with .Spec.Mode.Replicated}}{{.Replicas}}{{end}}')}
fi
REPLICAS=${REPLICAS:-2}
export IMAGE MASTER_KEY_SECRET REPLICAS
# The service reads these from Docker secrets only.
export MASTER_KEY='' MONGO_URI=''

files=(-c stack.yml -c deploy/stack.secure.yml)
for file in "$@"; do
    files+=(-c "$file")
done
stack_file=$(docker stack config "${files[@]}")
[[ ! $keyring ]] || stack_file=$(without_key <<<"$stack_file")
mapfile -t all_members < <(service_names | grep '^mongodb-[0-9]$')
mapfile -t others < <(service_names | grep -vE '^(mongodb-[0-9]|replica-set)$')
trial=
if is_trial; then
    trial=true
    say "The trial becomes a secured stack: until it is ready, requests get 503. If this is interrupted, run this script again."
    # Back in the trial, replicas could not serve any more.
    stack_file=${stack_file//failure_action: rollback/failure_action: continue}
fi
say "Deploying MongoDB."
if [[ $trial ]] || deploy_all_members; then
    ((${#absent[@]} == 0)) || fail "this deployment needs all members of MongoDB: bring back the node, then run this script again"
    deploy_services "${all_members[@]}"
elif ((${#absent[@]} == 0)); then
    update_members
fi
# Before the service: without MongoDB's user, no new replica becomes ready.
deploy_services replica-set
await_replica_set
say "Deploying the service, and waiting until it is ready."
deploy_services "${others[@]}"
after=$(spec "$service")
[[ -z $before || $after == "$before" ]] || await_update "$service"
await_replicas "$REPLICAS"
if ((REPLICAS > 0)); then
    say "The service is ready."
    first_token
    next_steps
else
    say "Deployed without replicas. Restore a backup, then run: docker service scale $service=2"
fi
((${#late[@]} == 0)) ||
    fail "MongoDB was not updated, because ${late[*]/#/mongodb-} is not in step. For the reason, run docker service logs ${stack}_mongodb-${late[0]}. When all members are in step, run this script again"
