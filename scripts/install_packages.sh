#!/usr/bin/env bash
# Install the system packages that the tests use: scripts/install_packages.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/install_packages.sh

Installs the packages of Debian or Ubuntu that the tests use and this machine lacks. Requires root. Without a package,
scripts/test.sh skips the tests that need it.

-h, --help  print this text

Exit codes: 0 installed, 2 wrong usage, otherwise failed
END
}

answer_help "$@"
expect_none "$@"
needed=()
for pair in chromium:chromium curl:curl wrk:wrk ip:iproute2 prometheus:prometheus \
    nginx:nginx-light haproxy:haproxy caddy:caddy node:nodejs npm:npm java:default-jre-headless \
    softhsm2-util:softhsm2 swtpm:swtpm age:age clevis:clevis cc:gcc man:man-db pkg-config:pkg-config mariadbd:mariadb-server redis-server:redis-server \
    valkey-server:valkey-server docker-registry:docker-registry; do
    command -v "${pair%:*}" >/dev/null || needed+=("${pair#*:}")
done
# Libraries that the embedded mongod needs.
ldconfig -p | grep -q 'libcurl\.so\.4 ' || needed+=(libcurl4t64)
# The library of TPMs, for which pip compiles a binding.
[[ -e /usr/include/tss2/tss2_esys.h ]] || needed+=(libtss2-dev libffi-dev)
# Sources of passwords that rotate; PostgreSQL has its programs in a folder of its version.
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || needed+=(postgresql)
# The plugin `docker compose`.
docker compose version >/dev/null 2>&1 || needed+=(docker-compose)
# A server for clevis.
[[ -e /usr/libexec/tangd ]] || needed+=(tang)
# Sets the clock of a process under test.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || needed+=(libfaketime)
if [[ ${#needed[@]} -gt 0 ]]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}"
fi
