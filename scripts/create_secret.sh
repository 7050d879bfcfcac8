#!/usr/bin/env bash
# Store a secret and print {"secret_id":"…"}.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "${0%"${0##*/}"}./http_client.sh"

usage() { # print the usage
    printf '%s\n' 'usage: create_secret.sh [OPTION]... BASE64
       base64 --wrap=0 FILE | create_secret.sh [OPTION]... -
       create_secret.sh --plain [OPTION]... - < FILE

Stores a secret, given in base64, and prints {"secret_id":"…"}. With -, reads it from standard input.
Use - on shared machines: any local user can see the arguments while the script runs. An argument that begins
with - is never sent as a value.

--plain          the value is not in base64: it is stored byte for byte, with each newline
--name NAME      the name of the secret, such as billing/db-password; requires a credential
--ttl DURATION   the time until the secret expires, such as 30d, 12h, 90m or 45s; also --expires-in
--max-reads N    the number of times that the secret can be fetched
-h, --help       print this text

VAULT_URL     the URL of the service (default: http://localhost:8000)
VAULT_TOKEN   a token or JWT, if the service requires one
VAULT_ROLE    the role of the JWT, if it matches several
VAULT_CACERT  a file with the certificate authority of the service, if the system does not know it

Exit codes: 0 stored, 1 refused or failed, 2 wrong usage, 4 denied, 5 the service is away'
}

seconds() { # seconds OPTION DURATION: print the duration in seconds
    [[ $2 =~ ^([0-9]{1,9})([smhdw]?)$ ]] || misused "$1 must be a number of seconds, or one with a unit: s, m, h, d or w, such as 30d"
    local count=$((10#${BASH_REMATCH[1]}))
    case ${BASH_REMATCH[2]} in
        m) count=$((count * 60)) ;;
        h) count=$((count * 3600)) ;;
        d) count=$((count * 86400)) ;;
        w) count=$((count * 604800)) ;;
    esac
    ((count >= 1 && count <= 3650 * 86400)) || misused "$1 must be between 1 second and 3650 days"
    printf '%d' "$count"
}

add_bytes() { # add_bytes TEXT: append the number of each of its bytes to `bytes`; `count` is their count
    local text=$1 chunk start i byte
    # In chunks: bash measures the whole text for each of its substrings.
    for ((start = 0; start < ${#text}; start += 1024)); do
        chunk=${text:start:1024}
        for ((i = 0; i < ${#chunk}; i++)); do
            # Some versions of bash make the upper half negative.
            printf -v byte %d "'${chunk:i:1}"
            bytes[count++]=$((byte & 255))
        done
    done
}

read_plain_value() { # read_plain_value ARGUMENT: set `value` to the base64 of ARGUMENT, or for - of standard input
    local LC_ALL=C text i n count=0 bytes=() alphabet=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/
    if [[ $1 == - ]]; then
        # Each success means a NUL, which bash cannot store.
        while IFS= read -r -d '' text; do
            add_bytes "$text"
            bytes[count++]=0
        done
    else
        read_value "$1"
        printf '%s: note: any local user can see arguments: give values on standard input, with -\n' "${0##*/}" >&2
        text=$value
    fi
    add_bytes "$text"
    [[ $1 != - || $text != *$'\n' ]] ||
        printf '%s: note: the value ends with a newline, which is part of it; printf sends none\n' "${0##*/}" >&2
    value=
    for ((i = 0; i < count; i += 3)); do
        n=$((bytes[i] << 16 | ${bytes[i + 1]:-0} << 8 | ${bytes[i + 2]:-0}))
        value+=${alphabet:n>>18:1}${alphabet:n>>12&63:1}${alphabet:n>>6&63:1}${alphabet:n&63:1}
    done
    case $((count % 3)) in
        1) value=${value:0:${#value}-2}== ;;
        2) value=${value:0:${#value}-1}= ;;
    esac
}

main() {
    local plain='' fields='' operands=() number reply
    local +x value
    while (($#)); do
        # --name=NAME is --name NAME. Of no other argument is a part sent.
        case $1 in
            --name= | --ttl=* | --expires-in=* | --max-reads=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        esac
        case $1 in
            -h | --help)
                usage
                return
                ;;
            --plain | --raw) plain=true ;;
            # With =, a name can begin with -.
            --name=*) fields+=",\"name\":$(json_string "${1#*=}")" ;;
            --name | --ttl | --expires-in | --max-reads)
                require_value "$@"
                case $1 in
                    --name) fields+=",\"name\":$(json_string "$2")" ;;
                    --ttl | --expires-in)
                        number=$(seconds "$1" "$2")
                        fields+=",\"ttl_seconds\":$number"
                        ;;
                    *)
                        [[ $2 =~ ^[0-9]{1,9}$ ]] || misused "--max-reads must be a number"
                        fields+=",\"max_reads\":$((10#$2))"
                        ;;
                esac
                shift
                ;;
            --)
                operands+=("${@:2}")
                break
                ;;
            -?*) misused "unknown option. An argument that begins with - is never sent: give such a value on standard input" ;;
            *) operands+=("$1") ;;
        esac
        shift
    done
    if ((${#operands[@]} != 1)); then
        usage >&2
        exit 2
    fi
    if [[ $plain ]]; then
        read_plain_value "${operands[0]}"
    else
        read_value "${operands[0]}"
    fi
    [[ $value ]] || fail "there is no value. Hint: send one to standard input"
    # With --plain, the base64 is not the reason for a 400.
    local hint=''
    [[ $plain ]] || hint='for a value that is not in base64, use --plain'
    request /vault/secret/create/ "{\"secret\":$(json_string "$value")$fields}" 400 "$hint"
    printf '%s\n' "$reply"
}

main "$@"
