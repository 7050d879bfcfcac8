#!/usr/bin/env bash
# Deploy for production: build the image, make the Docker secrets that are missing, deploy stack.yml and
# stack.secure.yml, wait until all is ready, and make the first admin token. Safe to run again, for updates too.
# Arguments are further stack files of your own. On a swarm of several nodes push the image to a registry that they
# all reach, and say IMAGE=registry.example.com/secret-manager:1.0. An exported MASTER_KEY becomes the first key.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/swarm_lib.sh
source scripts/swarm_lib.sh
# shellcheck source=scripts/mongodb_placement.sh
source scripts/mongodb_placement.sh
images=${IMAGES_FILE:-images.env}

random() { # random BYTES: print them, as hexadecimal digits
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

secret() { # secret NAME COMMAND…: make it of what the command prints, unless it is there
    local name=$1
    shift
    have_secret "$name" && return
    "$@" | docker secret create "$name" - >/dev/null
    say "Made the Docker secret $name."
}

master_key() { # print the first master key
    if [[ ${MASTER_KEY-} ]]; then
        printf '%s' "$MASTER_KEY"
    else
        head -c 32 /dev/urandom | base64
    fi
}

check_key() { # fail unless MASTER_KEY, if any, is one, and that of a quick start; a secret cannot be changed
    local running LC_ALL=C
    running=$(setting MASTER_KEY)
    MASTER_KEY=${MASTER_KEY:-$running}
    [[ -z $running || $running == "$MASTER_KEY" ]] || fail "the service runs with another MASTER_KEY than the exported one"
    [[ -z $MASTER_KEY || $MASTER_KEY =~ ^([ -~]{32}|[A-Za-z0-9+/]{43}=)$ ]] ||
        fail "MASTER_KEY must be the base64 of 32 bytes, or exactly 32 characters"
    # The service refuses it too, but by then it would be a Docker secret, which cannot be changed.
    [[ -z $MASTER_KEY ]] || (($(distinct_bytes) > 4)) ||
        fail "MASTER_KEY is too easy to guess: make one with secret-manager keys generate"
}

distinct_bytes() { # print how many distinct bytes MASTER_KEY has
    if ((${#MASTER_KEY} == 32)); then
        printf '%s' "$MASTER_KEY"
    else
        printf '%s' "$MASTER_KEY" | base64 -d
    fi | od -An -v -tx1 -w1 | sort -u | wc -l
}

use_pinned_images() { # export what scripts/pin_images.sh has found, where nothing else is exported
    local name image
    if [[ ! -e $images ]]; then
        say "Base images go by tag. scripts/pin_images.sh pins them by digest."
        return
    fi
    while IFS='=' read -r name image; do
        [[ $name =~ ^[A-Z]+_IMAGE$ ]] || fail "$images is not of scripts/pin_images.sh"
        export "$name=${!name:-$image}"
    done <"$images"
}

key_file() {
    head -c 756 /dev/urandom | base64 -w0
}

mongo_uri() {
    printf 'mongodb://secret-manager:%s@mongodb-1,mongodb-2,mongodb-3/vault?replicaSet=rs0' "$(random 24)"
}

key_name() { # print the name of the secret that is the service's master key, or is to be
    local name number=1
    mapfile -t names < <(docker secret ls -f name=master_key_v --format '{{.Name}}')
    name=$(setting MASTER_KEY_FILE)
    name=${name:-${MASTER_KEY_SECRET-}}
    if [[ -z $name && $(setting MASTER_KEY) ]]; then
        # A new one: nobody can see whether one that is there holds this key.
        while have_secret "master_key_v$number"; do ((number += 1)); done
        name=master_key_v$number
    fi
    [[ $name ]] || ((${#names[@]} < 2)) ||
        fail "which of ${names[*]} is the key? export MASTER_KEY_SECRET=…, the newest under which data was encrypted"
    name=${name:-${names[0]:-master_key_v1}}
    printf '%s' "${name##*/}"
}

check_engine
[[ -z $(setting MASTER_KEY_FALLBACKS_FILE) ]] || fail "a rotation is under way: finish it with scripts/rotate_key.sh"
[[ -z ${MASTER_KEY_FALLBACKS-}$(setting MASTER_KEY_FALLBACKS) ]] ||
    fail "everybody who may inspect the service sees MASTER_KEY_FALLBACKS: finish that rotation (keys rewrap) and unset it"
[[ ${RATE_LIMIT_STORAGE_URI-} != mongodb*@* ]] ||
    fail "everybody who may inspect the service sees RATE_LIMIT_STORAGE_URI: set RATE_LIMIT_STORAGE_URI_FILE (docs/operations.md)"
check_key
use_pinned_images
# Not `always`: all members of the replica set would restart at once when mongo:7.0 becomes another image.
resolve=changed
if [[ -z ${IMAGE-} ]]; then
    (($(docker node ls -q | wc -l) == 1)) || fail "several nodes get the image from a registry: set IMAGE"
    say "Building the image."
    # shellcheck disable=SC2086 # options are words
    docker build --quiet ${DOCKER_BUILD_OPTIONS-} ${PYTHON_IMAGE:+--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"} \
        -t secret-manager:latest . >/dev/null
    # Named by its content: under one and the same name Swarm would not see that it is another.
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
# A deployment would set back what was scaled.
REPLICAS=${REPLICAS:-$(docker service inspect "$service" --format '{{.Spec.Mode.Replicated.Replicas}}' 2>/dev/null)} || REPLICAS=2
export IMAGE MASTER_KEY_SECRET REPLICAS
# From the secrets alone.
export MASTER_KEY='' MONGO_URI=''

files=(-c stack.yml -c stack.secure.yml)
for file in "$@"; do
    files+=(-c "$file")
done
say "Deploying; this waits until all is ready."
timeout 300 docker stack deploy --detach=false --quiet --with-registry-auth --resolve-image "$resolve" "${files[@]}" "$stack" ||
    fail "it did not get ready; what is wrong is in: docker service logs $service"
update_went_through
# What came and went meanwhile can still be on its way out.
until [[ $(docker service ls -f "name=$service" --format '{{.Replicas}}') == "$REPLICAS/$REPLICAS" ]]; do
    ((SECONDS < 600)) || fail "its replicas come and go; see: docker service ps $service"
    sleep 1
done
((REPLICAS > 0)) || { say "Deployed without replicas: restore a backup, then docker service scale $service=2" && exit; }
say "The service is ready."
container=$(replica)
if [[ -z $container ]]; then
    say "Its replicas run on $(elsewhere). There, make the first token: docker exec CONTAINER secret-manager tokens create --name admin --role admin"
    container=CONTAINER
elif (($(docker exec "$container" secret-manager tokens list | wc -l) == 1)); then
    printf 'The first token, with the role admin; it is not shown again:\n'
    docker exec "$container" secret-manager tokens create --name admin --role admin
fi
cat <<END
What next:
- Keep a copy of the master key in a safe place: without it nothing can be read.
    docker exec $container cat /run/secrets/$MASTER_KEY_SECRET
- Make a token for each application:
    docker exec $container secret-manager tokens create --name app --role writer
- Rotate the master key from time to time: scripts/rotate_key.sh
END
