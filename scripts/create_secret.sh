#!/usr/bin/env bash
# Store a secret with curl. Neither the value nor the token is an argument of another program. A retry stores nothing twice.
set -euo pipefail
usage='usage: create_secret.sh [--plain] [--name NAME] [--ttl 30d] [--max-reads N] BASE64
Stores a secret and prints {"secret_id":"…"}. With - as BASE64, reads standard input: any local user can see arguments.
With --plain, the value is not in base64: each byte is stored. --ttl takes s, m, h, d or w. -h, --help: print this text.
Reads VAULT_URL (default: http://localhost:8000), VAULT_TOKEN, VAULT_ROLE (of a JWT) and VAULT_CACERT (a file).
Exit codes: 0 stored, 1 refused or failed, 2 wrong usage, 4 denied, 5 the service is unavailable'
fail() { printf 'create_secret.sh: %s\n' "$1" >&2; exit "${2:-1}"; }
plain='' value='' fields='' url=${VAULT_URL:-http://localhost:8000}
declare -A unit=([s]=1 [m]=60 [h]=3600 [d]=86400 [w]=604800) codes=([401]=4 [403]=4 [502]=5 [503]=5 [504]=5)
while (($#)); do
    case $1 in
        -h | --help) printf '%s\n' "$usage"; exit ;;
        --plain | --raw) plain=true ;;
        --name | --max-reads | --ttl | --expires-in) (($# > 1)) || fail "$1 needs a value. Hint: --help" 2 ;;&
        --*=*) set -- "" "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --name) name=${2//\\/\\\\} fields+=",\"name\":\"${name//\"/\\\"}\""; shift ;;
        --max-reads) fields+=",\"max_reads\":$2"; shift ;;
        --ttl | --expires-in)
            [[ $2 =~ ^([0-9]{1,9})([smhdw]?)$ ]] || fail "--ttl must be a duration, such as 30d" 2
            fields+=",\"ttl_seconds\":$((10#${BASH_REMATCH[1]} * unit[${BASH_REMATCH[2]:-s}]))"; shift ;;
        -?*) fail "unknown option, or a value that begins with -: use standard input for it. Hint: --help" 2 ;;
        *) [[ -z $value ]] || fail "more than one value. Hint: --help" 2; value=$1 ;;
    esac
    shift
done
[[ $value ]] || fail "no value. Hint: --help" 2
[[ $value == - ]] || exec < <(printf '%s' "$value")
value=$(if [[ $plain ]]; then base64; else cat; fi | tr -d '\n')
[[ $value && $value != *[!A-Za-z0-9+/=]* ]] || fail "the value is not in base64, or empty. Hint: --plain stores any bytes"
headers=("Content-Type: application/json" "Idempotency-Key: $(od -An -tx1 -N16 /dev/urandom | tr -d ' ')"
    ${VAULT_TOKEN:+"Authorization: Bearer $VAULT_TOKEN"} ${VAULT_ROLE:+"X-Role: $VAULT_ROLE"})
[[ $url == https:* ]] || export no_proxy='*' # A proxy would see the token and the value.
reply=$(printf '{"secret":"%s"%s}' "$value" "$fields" | curl --silent --show-error --retry 2 --max-time 30 \
    ${VAULT_CACERT:+--cacert "$VAULT_CACERT"} --header @<(printf '%s\n' "${headers[@]}") --data-binary @- \
    --write-out '\n%{http_code}' "${url%/}/vault/secret/create" | grep . | tail -n 2) || fail "no answer from $url" 5
status=${reply: -3} detail=$(printf '%s' "$reply" | sed -n 's/.*"detail": *"\([^"]*\)".*/\1/p' | tr -d '[:cntrl:]')
[[ $status == 20? ]] || fail "the service refused with status $status: $detail" "${codes[$status]:-1}"
printf '%s\n' "${reply:0:-4}"
