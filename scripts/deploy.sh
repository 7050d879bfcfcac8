#!/usr/bin/env bash
# Deploy for production: build the image, make the Docker secrets that are missing, deploy stack.yml and
# stack.secure.yml, wait until all is ready, and make the first admin token. Safe to run again, for updates too.
# Arguments are further stack files of your own. On a swarm of several nodes push the image to a registry that they
# all reach, and say IMAGE=registry.example.com/secret-manager:1.0. An exported MASTER_KEY becomes the first key.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/swarm.sh
source scripts/swarm.sh

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

key_file() {
    head -c 756 /dev/urandom | base64 -w0
}

mongo_uri() {
    printf 'mongodb://secret-manager:%s@mongodb-1,mongodb-2,mongodb-3/vault?replicaSet=rs0' "$(random 24)"
}

newest_key() { # print the name of the secret that is the service's master key, or will be
    local name
    name=$(setting MASTER_KEY_FILE)
    [[ $name ]] || name=$(docker secret ls -f name=master_key_v --format '{{.Name}}' | sort -V | tail -n 1)
    printf '%s' "${name##*/}"
}

place_members() { # let each member of the replica set have a node of its own, for good
    local nodes node label number=0
    mapfile -t nodes < <(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}}' | sed -n 's/ Ready Active$//p')
    ((${#nodes[@]} > 1)) || return 0
    if ((${#nodes[@]} < 3)); then
        say "Two nodes only: the loss of one can take MongoDB's majority. Add a third, and run this again."
        return
    fi
    local -A labels=()
    for node in "${nodes[@]}"; do
        labels[$node]=$(docker node inspect "$node" --format '{{index .Spec.Labels "mongodb"}}')
    done
    for node in "${nodes[@]}"; do
        [[ -z ${labels[$node]} ]] || continue
        label=none
        for number in 1 2 3; do
            [[ " ${labels[*]} " == *" $number "* ]] || { label=$number && break; }
        done
        labels[$node]=$label
        docker node update --label-add "mongodb=$label" "$node" >/dev/null
        say "Labelled the node $node mongodb=$label."
    done
}

check_engine
[[ -z $(setting MASTER_KEY_FALLBACKS_FILE) ]] || fail "a rotation is under way: finish it with scripts/rotate_key.sh"
resolve=always
if [[ -z ${IMAGE-} ]]; then
    (($(docker node ls -q | wc -l) == 1)) || fail "several nodes get the image from a registry: set IMAGE"
    say "Building the image."
    # shellcheck disable=SC2086 # options are words
    docker build --quiet ${DOCKER_BUILD_OPTIONS-} -t secret-manager:latest . >/dev/null
    # Named by its content: under one and the same name Swarm would not see that it is another.
    IMAGE=$(docker image inspect secret-manager:latest --format '{{.Id}}')
    IMAGE=${IMAGE#sha256:}
    IMAGE=secret-manager:${IMAGE:0:12}
    docker tag secret-manager:latest "$IMAGE"
    resolve=never
fi
MASTER_KEY_SECRET=$(newest_key)
MASTER_KEY_SECRET=${MASTER_KEY_SECRET:-master_key_v1}
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
