#!/usr/bin/env bash
# Resolve setup.cfg's dependencies anew and write the lock files under requirements/, with hashes.
# Needs uv on the PATH. Arguments go to uv: `scripts/lock.sh --upgrade` takes the newest releases.
set -euo pipefail
cd "$(dirname "$0")/.."

lock() { # lock OUTPUT ARGUMENTS…
    local output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command scripts/lock.sh \
        "$@" --output-file "requirements/$output" setup.cfg
}

lock service.txt "$@"
# The build backend is locked too: the package is installed without build isolation.
printf 'setuptools>=80\n' | lock dev.txt "$@" --constraint requirements/service.txt --extra embedded -
lock test.txt "$@" --constraint requirements/dev.txt --extra embedded --extra test
