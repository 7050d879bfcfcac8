#!/usr/bin/env bash
# Store a secret and print {"secret_id":"…"}.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "$(dirname "$0")/http_client.sh"

if (($# != 1)); then
    cat >&2 <<'USAGE'
usage: create_secret.sh BASE64
       base64 --wrap=0 FILE | create_secret.sh -

Stores a secret, given in base64, and prints {"secret_id":"…"}. With -, reads it from standard input.
Use - on shared machines: any local user can see the arguments while the script runs.

VAULT_URL    the URL of the service (default: http://localhost:8000)
VAULT_TOKEN  a token or JWT, if the service requires one
USAGE
    exit 2
fi

read_value "$1"
post /vault/secret/create/ secret "$value"
