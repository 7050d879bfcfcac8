#!/usr/bin/env bash
# Rotate the master key of the service that deploy.sh deployed, in four steps. Each step starts only once the one
# before has reached every worker. If interrupted, run it again: it resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/swarm_lib.sh
source scripts/swarm_lib.sh

update() { # update OPTIONS…: update the service and wait for the result
    timeout 900 docker service update --quiet --detach=false "$@" "$service" >/dev/null ||
        fail "the update did not finish: run docker service ps $service"
    update_went_through
}

manager() { # manager ARGUMENTS…: run secret-manager in a replica
    local container
    container=$(replica)
    [[ $container ]] || fail "no replica is ready on this node: run this script on a manager among $(elsewhere)"
    docker exec "$container" secret-manager "$@"
}

everywhere() { # everywhere ROLE COLUMN: wait until COLUMN of `keys status` counts all workers for the key of ROLE
    local cell deadline=$((SECONDS + 60))
    while cell=$(manager keys status | awk -F '  +' -v role="$1" -v column="$2" '$2 == role { print $column }'); do
        # "4 of 4"
        [[ -z $cell || ${cell%% *} != "${cell##* }" ]] || return 0
        ((SECONDS < deadline)) || fail "some workers do not use the key yet ($cell): run secret-manager keys status"
        sleep 2
    done
    fail "secret-manager keys status failed"
}

check_engine
primary=$(setting MASTER_KEY_FILE)
primary=${primary##*/}
fallback=$(setting MASTER_KEY_FALLBACKS_FILE)
fallback=${fallback##*/}
[[ $primary =~ ^(.+_v)([0-9]+)$ ]] || fail "the service has no master key named master_key_vN: deploy it with scripts/deploy.sh"
new=${BASH_REMATCH[1]}$((BASH_REMATCH[2] + 1))

if [[ -z $fallback ]]; then
    have_secret "$new" || manager keys generate | docker secret create "$new" - >/dev/null
    say "1. Adding $new to every replica, for decryption only."
    update --secret-add "source=$new,target=$new,uid=10001,gid=10001,mode=0400" \
        --env-add "MASTER_KEY_FALLBACKS_FILE=/run/secrets/$new"
    fallback=$new
fi
if [[ $fallback == "$new" ]]; then
    everywhere fallback 3
    say "2. Encrypting under $new; $primary still decrypts."
    update --env-add "MASTER_KEY_FILE=/run/secrets/$new" --env-add "MASTER_KEY_FALLBACKS_FILE=/run/secrets/$primary"
    fallback=$primary primary=$new
fi
everywhere primary 4
say "3. Rewrapping every secret under $primary."
manager keys rewrap
manager keys status
say "4. Removing $fallback from every replica."
update --secret-rm "$fallback" --env-rm MASTER_KEY_FALLBACKS_FILE
everywhere primary 4
say "The service now uses $primary. For manual deployments, run: export MASTER_KEY_SECRET=$primary"
say "Keep a copy of it. Keep $fallback as long as you keep earlier backups, then run: docker secret rm $fallback"
