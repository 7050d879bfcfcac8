#!/usr/bin/env bash
# Run a trial service: scripts/dev.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/dev.sh [OPTION]...

Runs a trial service until Ctrl-C: installs it into .venv, once, then starts it with its own MongoDB. All data is in
.dev/. Requires Python 3.11 or newer, and access to PyPI at the first start.

OPTION         an option of `secret-manager dev`, such as -v, which prints the service's log
-h, --help     print this text

BIND           the address of the service (default: 127.0.0.1:8000)
AUTH_ENABLED   true to require credentials; docs/settings.md has the other settings
PIP_INDEX_URL  another package index than PyPI

Exit codes: 0 ended, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
scripts/install.sh dev
exec .venv/bin/secret-manager dev "$@"
