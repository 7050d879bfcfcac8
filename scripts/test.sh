#!/usr/bin/env bash
# Run the tests: scripts/test.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/test.sh [--unit|--all|ARGUMENT...]

Installs the test dependencies into .venv, and runs the tests, except slow ones that start programs. Without a
system package that it needs, a test is skipped, and names the package.

--unit      only the tests that use neither MongoDB nor other programs
--all       also slow tests, with coverage; not what .ci/nightly adds
ARGUMENT    an argument of pytest, such as tests/core/crypto: one process runs all tests that it selects, slow ones too
-h, --help  print this text

CI          true to fail in place of skipping

Exit codes: as pytest, 0 if no test failed
END
}

answer_help "$@"
scripts/install.sh test
# Keep compiled modules: tests start hundreds of processes, and each would compile them again.
unset PYTHONDONTWRITEBYTECODE
# Four processes on two cores: tests wait for half of their time. Test names must be the same in every process, so
# they cannot contain random IDs: otherwise xdist cannot distribute them.
parallel=(.venv/bin/python -m tests --numprocesses 4 --dist worksteal)
case ${1-} in
    --all) exec "${parallel[@]}" --cov --cov-report=term "${@:2}" ;;
    --unit) exec "${parallel[@]}" -m "unit and not nightly" "${@:2}" ;;
    "") exec "${parallel[@]}" -m "not slow and not nightly" ;;
    *) exec .venv/bin/python -m tests "$@" ;;
esac
