#!/usr/bin/env bash
# Run a trial service: install it into .venv (once), then start it with its own MongoDB. All data is in .dev/.
# Requires only Python 3.11 or newer. Passes its arguments to `secret-manager dev`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/secret-manager dev "$@"
