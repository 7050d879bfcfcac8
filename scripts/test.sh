#!/usr/bin/env bash
# Install what the tests need into .venv and run them all; arguments go to pytest.
# A test that needs a system package which is not there is skipped and says which; with CI=true it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh test
if [[ $# -gt 0 ]]; then
    # A part of the tests covers a part of the code: there is nothing to measure.
    exec .venv/bin/python -m pytest "$@"
fi
# Compiled modules are kept: the tests start hundreds of processes, and each would compile them again.
unset PYTHONDONTWRITEBYTECODE
# Four at a time on two cores: a test waits for half of its time. Those whose names differ from process to process, as by
# a random id, are refused: the processes could not share them out.
exec .venv/bin/python -m pytest --numprocesses 4 --dist worksteal --cov --cov-report=term
