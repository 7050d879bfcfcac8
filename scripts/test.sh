#!/usr/bin/env bash
# Install the test dependencies into .venv and run all tests. Passes its arguments to pytest.
# A test is skipped, and names the package, if a system package that it needs is missing. With CI=true it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
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
