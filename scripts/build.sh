#!/usr/bin/env bash
# Build the files of a release: scripts/build.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/build.sh

Builds the commit that is checked out into dist/, without uncommitted changes: a wheel, a source distribution, what
each size of the package installs (CycloneDX, *.cdx.json), and SHA256SUMS. The same commit gives the same bytes with the
same version of Python. The wheel has manual pages and shell completions. Requires git, access to PyPI, and Python 3.13,
which the images have, or else 3.11 or newer.

-h, --help         print this text

SOURCE_DATE_EPOCH  the date of all files (default: the commit's)
PIP_INDEX_URL      another package index than PyPI; pip's other settings take effect, too

Exit codes: 0 built, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
expect_none "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$work/source
tools=$work/tools/bin
# With other versions, the size `server` has other packages.
python=python3.13
# Run it: a version manager puts a shim on the PATH even for a Python that is not installed.
"$python" -c '' 2>/dev/null || python=python3
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH-$(git show --no-patch --no-show-signature --format=%ct HEAD)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8
umask 022

mkdir "$source"
# Your settings of git would change the files.
git -c tar.umask=0022 -c core.autocrlf=false -c core.eol=lf -c core.attributesFile=/dev/null archive HEAD |
    tar -x -C "$source"
"$python" -m venv "$work/tools"
"$tools/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt

install_into() { # install_into ENVIRONMENT ARGUMENT…: install into an environment without pip, as the image has it
    "$tools/pip" --python "$work/$1/bin/python" install --quiet --disable-pip-version-check "${@:2}"
}

for size in client server; do
    lock=${size/server/service}
    "$python" -m venv --without-pip "$work/$size"
    install_into "$size" --require-hashes -r "requirements/$lock.txt"
done

alone() { # alone COMMAND…: run it without your settings; your login would choose other commands for the manual
    env -i PATH="$PATH" HOME="$work" LC_ALL="$LC_ALL" PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"
}

cd "$source"
alone PYTHONPATH=. "$work/server/bin/python" scripts/manual.py share
find . -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
alone "$tools/python" -c '
from setuptools import build_meta
build_meta.build_sdist("../dist")
build_meta.build_wheel("../dist")' >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}
cd - >/dev/null

# setuptools dates the source distribution by the clock.
for file in "$work"/dist/*.tar.gz; do
    tar -xzf "$file" -C "$work"
    name=$(basename "$file" .tar.gz)
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=posix \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -C "$work" -c "$name" |
        gzip --best --no-name >"$file"
done

version=$("$work/client/bin/python" -c 'import runpy; print(runpy.run_path("vault/__init__.py")["__version__"])')
for size in client server; do
    install_into "$size" --no-deps --no-index --find-links "$work/dist" "secret-manager-service==$version"
    "$tools/cyclonedx-py" environment --output-reproducible \
        --output-file "$work/dist/secret-manager-service-$version-$size.cdx.json" "$work/$size/bin/python" 2>"$work/log" || {
        cat "$work/log" >&2
        exit 1
    }
done
(cd "$work/dist" && sha256sum -- * >SHA256SUMS)
rm -rf dist
mv "$work/dist" dist
cat dist/SHA256SUMS
