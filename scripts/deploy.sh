#!/usr/bin/env bash
# Deploy for production: build the image, create missing Docker secrets, deploy stack.yml and stack.secure.yml, wait
# until the service is ready, and create the first admin token. You can run it again, also to update.
# Arguments are additional stack files. On a swarm with several nodes, push the image to a registry that all nodes
# can reach, and set IMAGE=registry.example.com/secret-manager:1.0. An exported MASTER_KEY becomes the first key.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/swarm_lib.sh
source scripts/swarm_lib.sh
# shellcheck source=scripts/mongodb_placement.sh
source scripts/mongodb_placement.sh
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

master_key() { # print the first master key
    if [[ ${MASTER_KEY-} ]]; then
        printf '%s' "$MASTER_KEY"
    else
        head -c 32 /dev/urandom | base64
    fi
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

key_name() { # print the name of the Docker secret for the service's master key
    local name number=1
    mapfile -t names < <(docker secret ls -f name=master_key_v --format '{{.Name}}')
    name=$(setting MASTER_KEY_FILE)
    name=${name:-${MASTER_KEY_SECRET-}}
    if [[ -z $name && $(setting MASTER_KEY) ]]; then
        # Use a new name: there is no way to see whether an existing secret holds this key.
        while have_secret "master_key_v$number"; do ((number += 1)); done
        name=master_key_v$number
    fi
    [[ $name ]] || ((${#names[@]} < 2)) ||
        fail "several master keys found (${names[*]}): set MASTER_KEY_SECRET to the newest one that data is encrypted under"
    name=${name:-${names[0]:-master_key_v1}}
    printf '%s' "${name##*/}"
}

check_engine
[[ -z $(setting MASTER_KEY_FALLBACKS_FILE) ]] || fail "a rotation is in progress: finish it with scripts/rotate_key.sh"
[[ -z ${MASTER_KEY_FALLBACKS-}$(setting MASTER_KEY_FALLBACKS) ]] ||
    fail "anyone who can inspect the service sees MASTER_KEY_FALLBACKS: finish that rotation (keys rewrap), then unset it"
[[ ${RATE_LIMIT_STORAGE_URI-} != mongodb*@* ]] ||
    fail "anyone who can inspect the service sees RATE_LIMIT_STORAGE_URI: set RATE_LIMIT_STORAGE_URI_FILE (docs/operations.md)"
check_key
use_pinned_images
# Not `always`: if mongo:7.0 became another image, all members of the replica set would restart at once.
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
MASTER_KEY_SECRET=$(key_name)
secret "$MASTER_KEY_SECRET" master_key
secret mongodb_key_file key_file
secret mongodb_root_password random 24
secret mongo_uri mongo_uri
place_members
# Keep the current scale: a deployment would reset it.
REPLICAS=${REPLICAS:-$(docker service inspect "$service" --format '{{.Spec.Mode.Replicated.Replicas}}' 2>/dev/null)} || REPLICAS=2
export IMAGE MASTER_KEY_SECRET REPLICAS
# The service reads these from Docker secrets only.
export MASTER_KEY='' MONGO_URI=''

files=(-c stack.yml -c stack.secure.yml)
for file in "$@"; do
    files+=(-c "$file")
done
say "Deploying, and waiting until the service is ready."
timeout 300 docker stack deploy --detach=false --quiet --with-registry-auth --resolve-image "$resolve" "${files[@]}" "$stack" ||
    fail "the service did not become ready: for the reason, run docker service logs $service"
update_went_through
# Replicas that the update replaced may still be stopping.
until [[ $(docker service ls -f "name=$service" --format '{{.Replicas}}') == "$REPLICAS/$REPLICAS" ]]; do
    ((SECONDS < 600)) || fail "replicas keep restarting: run docker service ps $service"
    sleep 1
done
((REPLICAS > 0)) || { say "Deployed without replicas. Restore a backup, then run: docker service scale $service=2" && exit; }
say "The service is ready."
container=$(replica)
if [[ -z $container ]]; then
    say "The replicas run on $(elsewhere). To create the first token, run there: docker exec CONTAINER secret-manager tokens create --name admin --role admin"
    container=CONTAINER
elif (($(docker exec "$container" secret-manager tokens list | wc -l) == 1)); then
    printf 'The first token, with the role admin. It is not shown again:\n'
    docker exec "$container" secret-manager tokens create --name admin --role admin
fi
cat <<END
Next steps:
- Keep a copy of the master key in a safe place. Without it, no secret can be decrypted.
    docker exec $container cat /run/secrets/$MASTER_KEY_SECRET
- Create a token for each application:
    docker exec $container secret-manager tokens create --name app --role writer
- Rotate the master key regularly: scripts/rotate_key.sh
END
