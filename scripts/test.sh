#!/usr/bin/env bash
# Run the tests: scripts/test.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/test.sh [ARGUMENT]...

Installs the test dependencies into .venv, and runs all tests with their coverage, or without it those that ARGUMENTs
select. Without a system package that it needs, a test is skipped, and names the package.

ARGUMENT    an argument of pytest, such as tests/crypto
-h, --help  print this text

CI          true to fail in place of skipping

Exit codes: those of pytest, 0 if no test failed
END
}

answer_help "$@"
scripts/install.sh test
if [[ $# -gt 0 ]]; then
    # No coverage: some of the tests cover only some of the code.
    exec .venv/bin/python -m pytest "$@"
fi
# Keep compiled modules: tests start hundreds of processes, and each would compile them again.
unset PYTHONDONTWRITEBYTECODE
# Five processes on two cores: tests wait for half of their time. Test names must be the same in every process, so
# they cannot contain random IDs: otherwise xdist cannot distribute them.
exec .venv/bin/python -m pytest --numprocesses 5 --dist worksteal --cov --cov-report=term
