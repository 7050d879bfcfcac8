# Sourced by .ci/run and .ci/nightly: what both need of a machine. Runs as root on Debian.
# shellcheck shell=bash
export CI=true

folder=$(mktemp -d)
declare -A jobs=()
failed=

clean_up() { # clean_up: also after a failure, end what was started
    local job
    for job in "${jobs[@]}"; do
        kill -- "-$job" 2>/dev/null || true
    done
    [[ -z ${SWARM_ROOT:-} ]] || end_engine
    rm -rf "$folder"
}
trap clean_up EXIT

start() { # start NAME: run that function in the background, as a group of processes, with its output in a file
    set -m
    "$1" >"$folder/$1" 2>&1 &
    set +m
    jobs[$1]=$!
}
wait_for_all() { # wait_for_all: wait for what was started, and note what failed
    local job
    for job in "${!jobs[@]}"; do
        wait "${jobs[$job]}" || failed+=" $job"
        unset "jobs[$job]"
    done
}
report() { # report NAME...: print the output of these jobs, and what failed
    local job
    [[ -z $failed ]] || echo "failed:$failed"
    for job in "$@"; do
        [[ ! -f $folder/$job ]] || cat "$folder/$job"
    done
    [[ -z $failed ]]
}

install_all() { # install_all: what the project needs, in its own environment
    scripts/install_packages.sh
    scripts/install.sh test
    # Compiled from its source.
    .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tpm2.txt
    # A provider of OpenID Connect, and a checker of pages.
    npm ci --silent --prefix tests/console
}

engine=../shared/swarm
start_engine() { # start_engine: start a temporary Docker engine, or fail if the tool that creates one is not available
    local up
    if [[ ! -x $engine/engine-up ]]; then
        echo "NOT RUN: tests on an engine: $engine/engine-up not found"
        return 1
    fi
    # A new engine each time: a kept one may contain leftovers of an earlier run.
    SWARM_ROOT=$(mktemp -d /var/tmp/secret-manager-engine.XXXXXX)
    export SWARM_ROOT
    up=$("$engine/engine-up")
    eval "$up"
    "$engine/stand-in-images"
}
end_engine() { # end_engine: end it, and remove its files
    local dockerd
    dockerd=$(cat "$SWARM_ROOT/dockerd.pid" 2>/dev/null) || dockerd=
    "$engine/engine-down"
    { [[ -z $dockerd ]] || timeout 60 tail --pid "$dockerd" -f /dev/null; } &&
        { umount "$SWARM_ROOT"/exec/netns/* 2>/dev/null || true; } &&
        rm -rf --one-file-system "$SWARM_ROOT" || echo "Not removed: $SWARM_ROOT"
    unset SWARM_ROOT
}
