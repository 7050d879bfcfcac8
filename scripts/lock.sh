#!/usr/bin/env bash
# Write the lock files: scripts/lock.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/lock.sh [OPTION]...

Resolves the dependencies in setup.cfg, and writes the lock files under requirements/, loadtest/ and tests/qa/clients/,
with hashes. Requires uv, and access to PyPI.

OPTION            an option of `uv pip compile`, such as --upgrade, which takes the newest releases
-h, --help        print this text

UV_DEFAULT_INDEX  another package index than PyPI; uv's other settings take effect, too

Exit codes: those of uv, 0 if all files were written
END
}

answer_help "$@"

lock() { # lock OUTPUT ARGUMENTS…: write OUTPUT; ARGUMENTS are the inputs to resolve, and options
    local output=$1
    shift
    # With extras: without them, pip 23 takes a newer release than the locked one, and refuses it.
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
        --no-emit-index-url --no-emit-find-links --custom-compile-command scripts/lock.sh \
        "$@" --output-file "$output"
}

lock requirements/service.txt setup.cfg --extra server "$@"
lock requirements/client.txt setup.cfg --constraint requirements/service.txt "$@"
lock requirements/pkcs11.txt setup.cfg --constraint requirements/service.txt --extra server --extra pkcs11 "$@"
lock requirements/rotation.txt setup.cfg --constraint requirements/service.txt --extra server --extra rotation "$@"
lock requirements/tracing.txt setup.cfg --constraint requirements/service.txt --extra server --extra tracing "$@"
# Lock the build backend too: the package is installed without build isolation.
printf 'setuptools>=80\n' |
    lock requirements/dev.txt setup.cfg - --constraint requirements/service.txt --extra server --extra embedded "$@"
printf 'setuptools>=80\n' | lock requirements/build.txt - --constraint requirements/dev.txt "$@"
# The tools of scripts/build.sh.
printf '%s\n' 'setuptools>=80' 'cyclonedx-bom>=7.3' |
    lock requirements/release.txt - --constraint requirements/build.txt "$@"
# The tools of scripts/rehearse.sh.
printf '%s\n' pipx 'pypiserver>=2.4' 'twine>=7.0' |
    lock requirements/rehearsal.txt - --constraint requirements/client.txt "$@"
lock requirements/test.txt setup.cfg --constraint requirements/dev.txt --constraint requirements/rotation.txt \
    --constraint requirements/tracing.txt \
    --extra server --extra embedded --extra mcp --extra pkcs11 --extra rotation --extra test --extra tracing --extra witness "$@"
lock requirements/bench.txt setup.cfg --constraint requirements/test.txt \
    --extra server --extra embedded --extra mcp --extra pkcs11 --extra rotation --extra test --extra tracing --extra witness --extra bench "$@"
# Compiled from its source, which needs libraries in C: not a part of the others.
lock requirements/tpm2.txt setup.cfg --constraint requirements/test.txt --extra server --extra tpm2 "$@"
printf 'locust>=2.40\n' | lock loadtest/requirements.txt - --constraint requirements/bench.txt "$@"
# Generators of clients, the libraries that their clients import, and Ansible with the library of its collection.
printf '%s\n' openapi-generator-cli openapi-python-client attrs httpx pydantic python-dateutil typing-extensions urllib3 \
    ansible-core hvac |
    lock tests/qa/clients/requirements.txt - "$@"
# All collections of Ansible.
printf 'ansible\n' | lock tests/qa/clients/collections.txt - --no-deps "$@"
