#!/usr/bin/env bash
# Store a secret and print {"secret_id":"…"}.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "$(dirname "$0")/http_client.sh"

if (($# != 1)); then
    cat >&2 <<'USAGE'
usage: create_secret.sh BASE64
       base64 --wrap=0 FILE | create_secret.sh -

Stores the secret that BASE64 encodes and prints {"secret_id":"…"}. With - it is read from standard input:
an argument can be seen by every user of this machine while the script runs.

VAULT_URL    where the service is, http://localhost:8000 if not set
VAULT_TOKEN  a credential, if the service asks for one
USAGE
    exit 2
fi

read_value "$1"
post /vault/secret/create/ secret "$value"
