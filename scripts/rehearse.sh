#!/usr/bin/env bash
# Rehearse a release on this machine: scripts/rehearse.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/rehearse.sh

Rehearses the release of the commit that is checked out, without uncommitted changes: takes its notes from CHANGELOG.md,
builds it twice, compares, and publishes package and images to an index and a registry that end with this script. A
container with only Python installs the command from that index. Compose starts the service from that registry, and the
command stores its first secret. Prints both times. Signs nothing. Requires what scripts/build.sh does, Docker with
Compose, docker-registry and curl.

-h, --help            print this text

DOCKER_BUILD_OPTIONS  options of `docker build`, such as --network=host
PIP_INDEX_URL         another package index than PyPI; pip's other settings take effect, too

Exit codes: 0 it can be released, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
expect_none "$@"

work=$(mktemp -d)
name=secret-manager-rehearsal-$$
compose=(docker compose --project-name "$name")
servers=()

clean_up() { # clean_up: also after a failure, remove what was started
    docker rm --force --volumes "$name" >/dev/null 2>&1 || true
    [[ -z ${IMAGE-} ]] || "${compose[@]}" down --volumes --timeout 5 >/dev/null 2>&1 || true
    [[ -z ${IMAGE-} ]] || docker image rm "$IMAGE" >/dev/null 2>&1 || true
    ((${#servers[@]} == 0)) || kill "${servers[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

free_port() { # print a port of this machine that is free
    python3 -c 'import socket; one = socket.create_server(("127.0.0.1", 0)); print(one.getsockname()[1])'
}

serve() { # serve ADDRESS COMMAND…: run a server in the background, until it answers
    "${@:2}" >"$work/server-${#servers[@]}" 2>&1 &
    servers+=($!)
    curl --silent --fail --output /dev/null --retry 60 --retry-delay 1 --retry-connrefused "$1"
}

quietly() { # quietly COMMAND…: run it, and print its output only if it fails
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
}

# 1. Tag. It fails if the version is released already.
git clone --quiet . "$work/candidate"
cd "$work/candidate"
version=$(python3 -c 'import runpy; print(runpy.run_path("vault/__init__.py")["__version__"])')
tag=v$version
git tag "$tag"
python3 scripts/notes.py "$tag" >"$work/notes"

# 2. Build, build again, and compare.
quietly scripts/build.sh
git clone --quiet . "$work/again"
quietly "$work/again/scripts/build.sh"
cmp dist/SHA256SUMS "$work/again/dist/SHA256SUMS"
echo "$tag: the notes have $(wc -l <"$work/notes") lines, and two builds are equal"

# 3. Publish the package. The index has its dependencies, too, and leads to no other one.
python3 -m venv "$work/tools"
pip=("$work/tools/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install --require-hashes -r requirements/rehearsal.txt
"${pip[@]}" download --only-binary :all: --python-version 3.13 --require-hashes --dest "$work/packages" \
    -r requirements/client.txt -r requirements/rehearsal.txt
index=http://127.0.0.1:$(free_port)
serve "$index" "$work/tools/bin/pypi-server" run --interface 127.0.0.1 --port "${index##*:}" --disable-fallback \
    --authenticate . --passwords . "$work/packages"
quietly "$work/tools/bin/twine" check --strict dist/*.whl dist/*.tar.gz
quietly "$work/tools/bin/twine" upload --username any --password any --repository-url "$index" dist/*.whl dist/*.tar.gz

# 4. Publish the images.
registry=127.0.0.1:$(free_port)
cat >"$work/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/images}}
http: {addr: "$registry"}
END
serve "http://$registry/v2/" docker-registry serve "$work/registry.yml"
read -ra options <<<"${DOCKER_BUILD_OPTIONS-}"
for image in server:secret-manager client:secret-manager-client; do
    published=$registry/${image#*:}:$tag
    quietly docker build --quiet "${options[@]}" --target "${image%:*}" --tag "$published" .
    quietly docker push "$published"
    quietly docker image rm "$published"
done

# 5. Install the command where only Python is.
quietly docker run --detach --rm --name "$name" --network host --env "PIP_INDEX_URL=$index/simple/" \
    "${PYTHON_IMAGE:-python:3.13-slim}" sleep infinity
within=(docker exec --env VAULT_TOKEN --env VAULT_URL "$name" bash -ec)
quietly "${within[@]}" 'python -m venv /opt/pipx; /opt/pipx/bin/pip install pipx'
start=$SECONDS
quietly "${within[@]}" 'PATH+=:/opt/pipx/bin:~/.local/bin; pipx install secret-manager-service; secret-manager --version'
echo "the command is installed after $((SECONDS - start)) s"

# 6. Start the service, and store its first secret.
IMAGE=$registry/secret-manager:$tag
PUBLISHED_PORT=$(free_port)
VAULT_URL=http://127.0.0.1:$PUBLISHED_PORT
export IMAGE PUBLISHED_PORT VAULT_URL
start=$SECONDS
quietly docker pull "$IMAGE"
quietly "${compose[@]}" up --detach --wait --no-build
VAULT_TOKEN=$("${compose[@]}" exec -T secret-manager secret-manager tokens create --name admin --role admin)
export VAULT_TOKEN
quietly "${within[@]}" 'PATH+=:~/.local/bin; secret-manager secret set first --generate 32; secret-manager secret get first'
echo "the service has its first secret after $((SECONDS - start)) s"
