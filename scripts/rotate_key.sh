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
the one before has reached every worker. If interrupted, run it again: it resumes.

-h, --help   print this text; without arguments, a rotation starts

DOCKER_HOST  the Docker engine, if not the default one

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
    everywhere primary encrypting
    say "The service now uses $primary. For manual deployments, run: export MASTER_KEY_SECRET=$primary"
    say "Keep a copy of it. Keep $fallback as long as you keep earlier backups, then run: docker secret rm $fallback"
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
[[ ! $(setting MASTER_KEYRING_FILE) ]] ||
    fail "the master key is in a keyring file: rotate it as docs/custody.md says"
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
    have_secret "$new" || new_key | docker secret create "$new" - >/dev/null
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
