#!/usr/bin/env bash
# Create .venv and install requirements/LOCK.txt and this package into it: scripts/install.sh --help
# The stamp is written last, so an interrupted installation is repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/install.sh dev|test|bench

Creates .venv in the checkout, and installs this package and the locked packages for one purpose into it: a trial
(dev), the tests (test) or the load tests (bench). Each includes the one before. Does nothing if the installation is up
to date. If interrupted, run it again. Requires Python 3.11 or newer, and access to PyPI.

-h, --help     print this text

PIP_INDEX_URL  another package index than PyPI; pip's other settings take effect, too

Exit codes: 0 installed, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
lock=${1-}
[[ $lock =~ ^(dev|test|bench)$ ]] || misused "expected dev, test or bench"
expect_none "${@:2}"
python=.venv/bin/python
stamp=.venv/installed

fail() { # fail MESSAGE
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

interrupted() { # end after Ctrl-C, without the tracebacks of what ran
    printf '\ninstall.sh: interrupted: run it again to continue\n' >&2
    exit 130
}

fingerprint() { # fingerprint LOCK: hash all inputs of an installation, with the folder: scripts contain Python's path
    local version
    version=$("$python" --version 2>&1) || true
    printf '%s ' "$1"
    { printf '%s\n' "$version" "$PWD" && cat "requirements/$1.txt" setup.cfg pyproject.toml; } | sha256sum
}

installed() { # installed LOCK
    [[ -f $stamp && $(<"$stamp") == "$(fingerprint "$1")" ]]
}

find_python() { # print a Python that is new enough and can create virtual environments
    local candidate found=
    for candidate in python3.13 python3.12 python3.11 python3; do
        # Run it: a version manager puts a shim on the PATH even for a Python that is not installed.
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        found=$candidate
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    [[ $found ]] || fail "Python 3.11 or newer not found: install it"
    fail "$found cannot create virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)"
}

show() { # show TEXT: replace the line on a terminal; otherwise, print a line
    # The cursor goes back to the beginning, so that a message of pip overwrites the line.
    if [[ -t 2 ]]; then printf '\e[K%s\r' "$1" >&2; else printf '%s\n' "$1" >&2; fi
}

show_progress() { # show_progress COUNT: show the progress of an installation of COUNT packages, from pip's output
    local line status done=0 last=$SECONDS doing="Collecting packages"
    while :; do
        status=0
        IFS= read -r -t 1 line || status=$?
        # More than 128: a second without output.
        ((status == 0 || status > 128)) || break
        case $status$line in
            0Collecting\ *)
                done=$((done + 1))
                doing="Collecting packages: $done of $1"
                ;;
            0Installing\ *)
                doing="Installing the packages"
                last=-10
                ;;
        esac
        if [[ -t 2 ]] || ((SECONDS - last >= 10)); then
            last=$SECONDS
            show "$doing, $SECONDS s"
        fi
    done
    [[ ! -t 2 ]] || printf '\e[K' >&2
}

explain_failure() { # say why pip failed: of a package index that cannot be reached, pip prints dozens of lines
    if grep -Eq 'NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError|from versions: none' .venv/problems; then
        fail "no package index can be reached: check the network, or set PIP_INDEX_URL or a proxy, and run this again"
    fi
    cat .venv/problems >&2
    fail "pip failed: see above"
}

# Each lock file is a superset of the one before: an installation for the tests also serves a trial.
for larger in dev test bench; do
    [[ $larger != "$lock" ]] || reached=true
    [[ -z ${reached-} ]] || ! installed "$larger" || exit 0
done

printf 'Installing requirements/%s.txt into .venv. The first run takes up to a minute.\n' "$lock" >&2
rm -f "$stamp"
trap interrupted INT
if ! "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    system=$(find_python)
    show "Creating .venv with $system"
    problems=$("$system" -m venv --clear .venv 2>&1) || {
        printf '%s\n' "$problems" >&2
        fail "$system could not create .venv: install its venv module (Debian, Ubuntu: apt install python3-venv)"
    }
fi
pip=("$python" -m pip --disable-pip-version-check install)
"${pip[@]}" --progress-bar off --require-hashes --requirement "requirements/$lock.txt" 2>.venv/problems |
    show_progress "$(grep -c '^[^ #]*==' "requirements/$lock.txt")" || explain_failure
"${pip[@]}" --quiet --no-deps --no-build-isolation --editable . 2>.venv/problems || explain_failure
fingerprint "$lock" >"$stamp"
