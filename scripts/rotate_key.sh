#!/usr/bin/env bash
# Rotate the master key of the service that deploy.sh deployed: scripts/rotate_key.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/rotate_key.sh

Rotates the master key of the service that deploy.sh deployed, from a manager of its swarm, in four steps: adds a new
key to every replica, encrypts under it, rewraps every secret, and removes the earlier key. Each step starts only once
the one before has reached every worker. If interrupted, run it again: it resumes. If the service has a keyring file,
each step edits a copy of it, which becomes the next Docker config. If the copy was recorded but is lost, the next run
says that the file is not the newest one: run scripts/run_command.sh keys custody check --accept, and then this script.

-h, --help        print this text; without arguments, a rotation starts

OPERATOR_SECRETS  for a keyring file, Docker secrets with credentials that may wrap a key, if the replicas' own may only
                  unwrap; separated by spaces, such as TRANSIT_TOKEN=operator_token
DOCKER_HOST       the Docker engine, if not the default one

Exit codes: 0 rotated, 1 refused or failed, 2 wrong usage
END
}

answer_help "$@"
expect_none "$@"

# shellcheck source=scripts/swarm_lib.sh
source scripts/swarm_lib.sh
# shellcheck source=scripts/swarm_jobs.sh
source scripts/swarm_jobs.sh

update() { # update OPTIONS…: update the service and wait for the result
    local before after
    before=$(spec "$service")
    docker service update --quiet --detach "$@" "$service" >/dev/null
    after=$(spec "$service")
    [[ $after == "$before" ]] || await_update "$service"
}

manager() { # manager ARGUMENTS…: run secret-manager with the service's keys
    local options image
    options=$(like_service 10001 10001 && near) || return
    mapfile -t options <<<"$options"
    image=$(service_image) || return
    run_job "${options[@]}" --limit-memory 512M "$image" "$@"
}

edited() { # edited ARGUMENTS…: print the keyring file after `keys custody ARGUMENTS`, and a line with its SHA-256
    local options image pair program
    # In memory, because the job's file system is read-only.
    # shellcheck disable=SC2016 # the job's variables
    program='cp "$MASTER_KEYRING_FILE" /dev/shm/keyring.json; export MASTER_KEYRING_FILE=/dev/shm/keyring.json'
    options=$(like_service 10001 10001 && near) || return
    mapfile -t options <<<"$options"
    for pair in ${OPERATOR_SECRETS-}; do
        options+=("--secret=source=${pair#*=},target=operator-${pair%%=*},uid=10001,gid=10001,mode=0400")
        program+="; export ${pair%%=*}_FILE=/run/secrets/operator-${pair%%=*}"
    done
    # shellcheck disable=SC2016 # as above
    program+='; secret-manager keys custody "$@" >&2; cat /dev/shm/keyring.json; sha256sum </dev/shm/keyring.json'
    image=$(service_image) || return
    run_job "${options[@]}" --limit-memory 512M --entrypoint sh "$image" -ec "$program" sh "$@"
}

step_of() { # step_of CONFIG: print the step of a rotation, and the config before it, that made this Docker config
    docker config inspect "$1" --format '{{index .Spec.Labels "secret-manager.rotation"}}'
}

key_id() { # key_id ROLE: print the IDs of the keys that have this role
    local found
    found=$(manager keys status --json) || return
    sed -n "s/^{\"key_id\": \"\([0-9a-f]*\)\".*\"role\": \"$1\".*/\1/p" <<<"$found"
}

edit() { # edit STEP ARGUMENTS…: update the service to the keyring file after `keys custody STEP ARGUMENTS`
    local config next content digest
    config=$(keyring_config)
    [[ $config =~ ^(.+_v)([0-9]+)$ ]] || fail "the Docker config $config is not named keyring_vN: see docs/custody.md"
    next=${BASH_REMATCH[1]}$((BASH_REMATCH[2] + 1))
    if ! docker config inspect "$next" >/dev/null 2>&1; then
        content=$(edited "$@") || return
        digest=${content##*$'\n'}
        content=${content%$'\n'*}
        # Docker's logs can be cut, or have lines of others.
        [[ $(printf '%s\n' "$content" | sha256sum) == "$digest" ]] ||
            fail "the log of the job is not the keyring file: run scripts/run_command.sh keys custody check --accept, and then this script"
        printf '%s\n' "$content" | docker config create --label "secret-manager.rotation=$1 $config" "$next" - >/dev/null
    fi
    # An interrupted run may have made it. A config of another step must not be used.
    [[ $(step_of "$next") == "$1 $config" ]] ||
        fail "there is a Docker config $next already: deploy it (KEYRING_CONFIG), or remove it (docker config rm)"
    update --config-rm "$config" --config-add "source=$next,target=$file"
}

finish_file() { # wait until no worker has the removed key, and say where the file is
    local config
    everywhere primary encrypting
    config=$(keyring_config)
    say "The service now uses $config. For manual deployments, run: export KEYRING_CONFIG=$config"
    say "Keep a copy of it: docker config inspect $config --format '{{json .Spec.Data}}' | tr -d '\"' | base64 -d"
    say "Keep the copies before it as long as you keep earlier backups."
}

rotate_file() { # rotate the key of the keyring file
    local step key
    step=$(keyring_config)
    [[ $step ]] || fail "no Docker config of the service is $file: see docs/custody.md"
    step=$(step_of "$step") || return
    step=${step%% *}
    if [[ $step == drop && $state == updating ]]; then
        finish_file
        return
    fi
    if [[ $step != new-key && $step != promote ]]; then
        key=$(key_id fallback) || return
        [[ -z $key ]] || fail "the keyring file has a fallback that this script did not add, $key: see docs/custody.md"
        say "1. Adding a new key to every replica, for decryption only."
        edit new-key
        step='new-key'
    fi
    if [[ $step == new-key ]]; then
        everywhere fallback holding
        key=$(key_id fallback) || return
        say "2. Encrypting under $key; the earlier key still decrypts."
        edit promote "$key"
    fi
    everywhere primary encrypting
    say "3. Rewrapping every secret."
    manager keys rewrap
    manager keys status
    key=$(key_id fallback) || return
    say "4. Removing $key from every replica."
    edit drop "$key"
    finish_file
}

field() { # field NAME JSON: print the number in that field
    [[ $2 =~ \"$1\":\ ([0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

everywhere() { # everywhere ROLE USE: wait until all workers do what USE says, holding or encrypting, with the key of ROLE
    local key count deadline=$((SECONDS + 120))
    while ((SECONDS < deadline)); do
        key=$(manager keys status --json | grep "\"role\": \"$1\"") || fail "secret-manager keys status failed"
        count="$(field "$2" "$key") of $(field workers "$key")"
        [[ ${count%% *} != "${count##* }" ]] || return 0
        sleep 2
    done
    fail "some workers do not use the key yet ($count): run scripts/run_command.sh keys status"
}

finish() { # wait until no worker has the removed key
    local container
    everywhere primary encrypting
    container=$(replica)
    say "The service now uses $primary. For manual deployments, run: export MASTER_KEY_SECRET=$primary"
    [[ $container ]] || say "The replicas run on $(elsewhere): run docker exec there."
    say "Keep a copy of it: docker exec ${container:-CONTAINER} cat /run/secrets/$primary"
    say "Keep $fallback as long as you keep earlier backups, then run: docker secret rm $fallback"
}

check_engine
check_service
removed=
state=$(update_state "$service")
if [[ $state == updating ]]; then
    say "Waiting for the update that is in progress."
    removed=$(setting MASTER_KEY_FALLBACKS_FILE PreviousSpec)
    await_update "$service"
fi
file=$(setting MASTER_KEYRING_FILE)
if [[ $file ]]; then
    rotate_file
    exit
fi
primary=$(setting MASTER_KEY_FILE)
primary=${primary##*/}
fallback=$(setting MASTER_KEY_FALLBACKS_FILE)
fallback=${fallback##*/}
[[ $primary =~ ^(.+_v)([0-9]+)$ ]] || fail "the service has no master key named master_key_vN: deploy it with scripts/deploy.sh"
new=${BASH_REMATCH[1]}$((BASH_REMATCH[2] + 1))

# An earlier run was interrupted in step 4.
if [[ -z $fallback && $removed ]]; then
    fallback=${removed##*/}
    finish
    exit
fi
if [[ -z $fallback ]]; then
    if ! have_secret "$new"; then
        image=$(service_image)
        create_key "$image" "$new" "$(new_key)"
    fi
    say "1. Adding $new to every replica, for decryption only."
    update --secret-add "source=$new,target=$new,uid=10001,gid=10001,mode=0400" \
        --env-add "MASTER_KEY_FALLBACKS_FILE=/run/secrets/$new"
    fallback=$new
fi
if [[ $fallback == "$new" ]]; then
    everywhere fallback holding
    say "2. Encrypting under $new; $primary still decrypts."
    update --env-add "MASTER_KEY_FILE=/run/secrets/$new" --env-add "MASTER_KEY_FALLBACKS_FILE=/run/secrets/$primary"
    fallback=$primary primary=$new
fi
everywhere primary encrypting
say "3. Rewrapping every secret under $primary."
manager keys rewrap
manager keys status
say "4. Removing $fallback from every replica."
update --secret-rm "$fallback" --env-rm MASTER_KEY_FALLBACKS_FILE
finish
