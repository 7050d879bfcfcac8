#!/usr/bin/env bash
# Print a secret as {"secret":"…"}.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "$(dirname "$0")/http_client.sh"

if (($# != 1)); then
    cat >&2 <<'USAGE'
usage: fetch_secret.sh ID
       fetch_secret.sh - < FILE

Prints the secret that has this id as {"secret":"…"}, its value in base64. With - the id is read from standard
input: an argument can be seen by every user of this machine while the script runs.

VAULT_URL    where the service is, http://localhost:8000 if not set
VAULT_TOKEN  a credential, if the service asks for one
USAGE
    exit 2
fi

read_value "$1"
post /vault/secret/fetch secret_id "$value"
