#!/usr/bin/env bash
# Install the programs that tests/qa/clients and tests/console need: scripts/install_clients.sh --help
# A separate environment: generated clients bring libraries that the service must not depend on.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/install_clients.sh

Installs the clients, generators and linters of tests/qa/clients, and the OpenID Connect provider and axe-core of
tests/console, into these folders. Requires npm, access to PyPI and to npm's registry, and the .venv that
scripts/install.sh creates.

-h, --help     print this text

PIP_INDEX_URL  another package index than PyPI; the other settings of pip and npm take effect, too

Exit codes: 0 installed, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
expect_none "$@"
.venv/bin/python -m venv tests/qa/clients/.venv
tests/qa/clients/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/qa/clients/requirements.txt
# One of all collections, which take 500 MB.
archive=$(mktemp -d)
trap 'rm -rf "$archive"' EXIT
tests/qa/clients/.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$archive" \
    -r tests/qa/clients/collections.txt
tests/qa/clients/.venv/bin/python - "$archive"/*.whl tests/qa/clients/.venv <<'END'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
prefix = "ansible_collections/community/hashi_vault/"
wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(prefix)])
END
npm ci --silent --prefix tests/qa/clients
npm ci --silent --prefix tests/console
