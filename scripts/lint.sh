#!/usr/bin/env bash
# Run the linters and the type checker: scripts/lint.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/lint.sh

Installs the test dependencies into .venv, and runs ruff, mypy, import-linter, deptry, mkdocs, which
checks the links of the documents, and shellcheck. Prints lines with a word of scripts/words.txt, too, which are not
findings.

-h, --help  print this text

Exit codes: 0 nothing found, 2 wrong usage, otherwise findings
END
}

answer_help "$@"
expect_none "$@"
# A notice about later versions of MkDocs, which are not used here.
export NO_MKDOCS_2_WARNING=1
scripts/install.sh test
.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/mypy
.venv/bin/lint-imports
.venv/bin/python scripts/check_imports.py
.venv/bin/mkdocs build --strict
.venv/bin/shellcheck .ci/* scripts/*.sh deploy/systemd/*.sh
git grep -nwiEf scripts/words.txt -- '*.md' .ci deploy loadtest scripts vault Dockerfile ':!scripts/words.txt' || true
