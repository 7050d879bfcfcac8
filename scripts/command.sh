# shellcheck shell=bash
# Runs secret-manager from this checkout's .venv, or else from PATH. The scripts of the deployment on a swarm source it.
command=$(dirname "$0")/../.venv/bin/secret-manager
[[ -x $command ]] || command=$(type -P secret-manager) || {
    printf '%s: secret-manager not found. Hint: scripts/install.sh dev, or docs/install-swarm.md\n' "${0##*/}" >&2
    exit 1
}
exec "$command" "$@"
