#!/usr/bin/env bash
# Fetch a secret and print it as {"secret":"…"}.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "$(dirname "$0")/http_client.sh"

if (($# != 1)); then
    cat >&2 <<'USAGE'
usage: fetch_secret.sh ID
       fetch_secret.sh - < FILE

Fetches a secret by ID and prints {"secret":"…"}, with the value in base64. With -, reads the ID from standard
input. Use - on shared machines: any local user can see the arguments while the script runs.

VAULT_URL    the URL of the service (default: http://localhost:8000)
VAULT_TOKEN  a token or JWT, if the service requires one
USAGE
    exit 2
fi

read_value "$1"
post /vault/secret/fetch secret_id "$value"
