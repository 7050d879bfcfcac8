#!/usr/bin/env bash
# Install the client generators and linters that tests/clients needs, into tests/clients. Requires npm.
# A separate environment: generated clients bring libraries that the service must not depend on.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m venv tests/clients/.venv
tests/clients/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/clients/requirements.txt
npm ci --silent --prefix tests/clients
