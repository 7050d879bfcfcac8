#!/usr/bin/env bash
# Fetch a secret and print it as {"secret":"…"}, or its value alone.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "${0%"${0##*/}"}./http_client.sh"

usage() { # print the usage
    printf '%s\n' 'usage: fetch_secret.sh [OPTION]... ID
       fetch_secret.sh [OPTION]... - < FILE
       fetch_secret.sh [OPTION]... --name NAME

Fetches a secret by ID or name and prints {"secret":"…"}, with the value in base64. With -, reads the ID from
standard input. Use - on shared machines: any local user can see the arguments while the script runs. An argument
that begins with - is never sent.

--raw            print the value itself, decoded, byte for byte and without a newline after it
--name NAME      fetch the secret with this name, such as billing/db-password; requires a credential
-h, --help       print this text

VAULT_URL     the URL of the service (default: http://localhost:8000)
VAULT_TOKEN   a token or JWT, if the service requires one
VAULT_ROLE    the role of the JWT, if it matches several
VAULT_CACERT  a file with the certificate authority of the service, if the system does not know it

Exit codes: 0 fetched, 1 refused or failed, 2 wrong usage, 3 not found, 4 denied, 5 the service is away'
}

print_value() { # print_value JSON: print the value of {"secret":"…"}
    local parts escaped
    split_strings "$1"
    [[ ${parts[1]-} == secret && ${parts[2]-} =~ ^[[:space:]]*:[[:space:]]*$ ]] || fail "the service sent no secret"
    decode_base64 "${parts[3]-}"
    printf '%b' "$escaped"
}

main() {
    local raw='' field=secret_id name operands=() reply hint=''
    local +x value
    while (($#)); do
        # --name=NAME is --name NAME. Of no other argument is a part sent.
        [[ $1 != --name= ]] || set -- --name "" "${@:2}"
        case $1 in
            -h | --help)
                usage
                return
                ;;
            --plain | --raw) raw=true ;;
            # With =, a name can begin with -.
            --name=*) field=name name=${1#*=} ;;
            --name)
                require_value "$@"
                field=name name=$2
                shift
                ;;
            --)
                operands+=("${@:2}")
                break
                ;;
            -?*) misused "unknown option. An argument that begins with - is never sent" ;;
            *) operands+=("$1") ;;
        esac
        shift
    done
    case $field,${#operands[@]} in
        name,0) value=$name ;;
        secret_id,1) read_value "${operands[0]}" ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    [[ $field == name || $value =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]] || hint="for a name, use --name"
    request /vault/secret/fetch "{\"$field\":$(json_string "$value")}" 422 "$hint"
    if [[ $raw ]]; then
        print_value "$reply"
    else
        printf '%s\n' "$reply"
    fi
}

main "$@"
