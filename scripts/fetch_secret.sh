#!/usr/bin/env bash
# Fetch a secret with curl. The token is in no argument of another program.
set -euo pipefail
usage='usage: fetch_secret.sh [--raw] ID
       fetch_secret.sh [--raw] --name NAME
Fetches a secret and prints {"secret":"…"}, with the value in base64. With - as ID, reads the ID from standard input.
With --raw, prints the value itself, byte for byte and without a newline after it. -h, --help: print this text.
Reads VAULT_URL (default: http://localhost:8000), VAULT_TOKEN, VAULT_ROLE (of a JWT) and VAULT_CACERT (a file).
Exit codes: 0 fetched, 1 refused or failed, 2 wrong usage, 3 not found, 4 denied, 5 the service is unavailable'
fail() { printf 'fetch_secret.sh: %s\n' "$1" >&2; exit "${2:-1}"; }
raw='' field=secret_id value='' url=${VAULT_URL:-http://localhost:8000}
while (($#)); do
    case $1 in
        -h | --help) printf '%s\n' "$usage"; exit ;;
        --plain | --raw) raw=true ;;
        --name=*) set -- "" --name "${1#*=}" "${@:2}" ;;
        --name)
            (($# > 1)) || fail "--name needs a value. Hint: --help" 2
            field=name value=$2; shift ;;
        -?*) fail "unknown option. Hint: --help" 2 ;;
        *) [[ -z $value ]] || fail "either one ID or one name. Hint: --help" 2; value=$1 ;;
    esac
    shift
done
[[ $field$value != secret_id- ]] || value=$(cat)
[[ $value ]] || fail "no ID or name. Hint: --help" 2
value=${value//\\/\\\\}
headers=("Content-Type: application/json" ${VAULT_TOKEN:+"Authorization: Bearer $VAULT_TOKEN"}
    ${VAULT_ROLE:+"X-Role: $VAULT_ROLE"})
[[ $url == https:* ]] || export no_proxy='*' # A proxy would see the token and the value.
reply=$(printf '{"%s":"%s"}' "$field" "${value//\"/\\\"}" | curl --silent --show-error --retry 2 --max-time 30 \
    ${VAULT_CACERT:+--cacert "$VAULT_CACERT"} --header @<(printf '%s\n' "${headers[@]}") --data-binary @- \
    --write-out '\n%{http_code}' "${url%/}/vault/secret/fetch" | grep . | tail -n 2) || fail "no answer from $url" 5
status=${reply: -3} detail=$(printf '%s' "$reply" | sed -n 's/.*"detail": *"\([^"]*\)".*/\1/p' | tr -d '[:cntrl:]')
declare -A codes=([401]=4 [403]=4 [404]=3 [502]=5 [503]=5 [504]=5)
[[ $status == 200 ]] || fail "the service refused with status $status: $detail" "${codes[$status]:-1}"
decoded() { grep -o '"secret": *"[A-Za-z0-9+/=]*"' | cut -d '"' -f 4 | base64 -d; }
printf '%s\n' "${reply:0:-4}" | if [[ $raw ]]; then decoded; else cat; fi
