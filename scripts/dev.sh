#!/usr/bin/env bash
# Try the service out: install it into .venv (once), then run it on a MongoDB of its own, all data in .dev/.
# Needs Python 3.11 or newer and nothing else. Arguments go to `secret-manager dev`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/secret-manager dev "$@"
