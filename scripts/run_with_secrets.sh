#!/usr/bin/env bash
# Run a command with secrets in its environment.
set -euo pipefail
# shellcheck source=scripts/http_client.sh
source "${0%"${0##*/}"}./http_client.sh"

usage() { # print the usage
    printf '%s\n' 'usage: run_with_secrets.sh [--keep-token] NAME=REF... -- COMMAND [ARGUMENT]...

Fetches up to 100 secrets in one request, exports the value of each secret REF as the variable NAME, and replaces
itself with COMMAND: signals and the exit code are those of COMMAND. REF is a secret'"'"'s name, or its ID. Names
require a credential. Values are in no argument and no file. If any secret cannot be fetched, COMMAND does not run.
Prefer names: any local user can see the arguments while the secrets are fetched.

    run_with_secrets.sh DB_PASSWORD=billing/db-password -- ./server --port 8080

--keep-token  keep VAULT_TOKEN in the environment of COMMAND; otherwise it is removed
-h, --help    print this text

VAULT_URL     the URL of the service (default: http://localhost:8000)
VAULT_TOKEN   a token or JWT, if the service requires one
VAULT_ROLE    the role of the JWT, if it matches several
VAULT_CACERT  a file with the certificate authority of the service, if the system does not know it

Exit codes: those of COMMAND; before it starts, 1 refused or failed, 2 wrong usage, 3 not found, 4 denied,
5 the service is away, 127 COMMAND not found'
}

add_reference() { # add_reference NAME=REF: append to `names` and `items`; set `hint` if REF is neither a name nor an ID
    local name=${1%%=*} reference=${1#*=} field=name other no_name='//|/ | /|/\.\.?/|[*[:cntrl:]]'
    # Bash ignores what is assigned to these, or evaluates it, and that can run a command in it.
    local special=" BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_CMDS BASH_COMMAND BASH_LINENO"
    special+=" BASH_MONOSECONDS BASH_SOURCE BASH_SUBSHELL BASH_TRAPSIG BASH_VERSINFO DIRSTACK EPOCHREALTIME"
    special+=" EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO OPTIND PIPESTATUS PPID RANDOM SECONDS SHELLOPTS"
    special+=" SHLVL SRANDOM UID _ "
    [[ $1 == *=?* && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || misused "expected NAME=REF before --"
    [[ $special != *" $name "* ]] || misused "$name has a meaning of its own in bash: choose another name"
    for other in ${names[@]+"${names[@]}"}; do
        [[ $name != "$other" ]] || misused "$name is given twice"
    done
    [[ ! $reference =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]] || field=secret_id
    [[ ! /$reference/ =~ $no_name ]] ||
        hint="for $name, give the name of a secret, such as billing/db-password, or its ID"
    names+=("$name")
    items+="${items:+,}{\"$field\":$(json_string "$reference")}"
}

end_member() { # append what the member of a JSON object that has just ended says about an item
    case $depth,$key in
        3,secret) secrets[count - 1]=$text ;;
        4,status) statuses[count - 1]=$number ;;
        4,detail) details[count - 1]=$text ;;
    esac
    key='' text='' number=''
}

read_batch() { # read_batch JSON: set `secrets` to each item's base64, or its `statuses` and `details`; count in `count`
    local LC_ALL=C parts part character key='' text='' number='' inside='' depth=0 i
    split_strings "$1"
    for part in "${parts[@]}"; do
        if [[ $inside ]]; then
            text+=$part
            inside=''
            # After an odd number of backslashes, the quote belongs to the string.
            if [[ ${part: -1} == \\ && $part =~ ^(.*[^\\])?(\\\\)*\\$ ]]; then
                text+='"' inside=true
            fi
            continue
        fi
        for ((i = 0; i < ${#part}; i++)); do
            character=${part:i:1}
            case $character in
                :) key=$text text='' ;;
                '{' | '[')
                    depth=$((depth + 1))
                    ((depth != 3)) || count=$((count + 1))
                    ;;
                , | '}' | ']')
                    end_member
                    [[ $character == , ]] || depth=$((depth - 1))
                    ;;
                [0-9]) number+=$character ;;
            esac
        done
        inside=true
    done
}

fetch_all() { # fetch_all NAME...: append NAME=VALUE for each to _run_with_secrets; `items` has the references
    local reply escaped value names=("$@") secrets=() statuses=() details=() count=0 i code=0
    request /vault/secret/fetch-batch "{\"secrets\":[$items]}" 422 "$hint"
    read_batch "$reply"
    ((count == $#)) || fail "the service sent $count secrets instead of $#"
    for ((i = 0; i < count; i++)); do
        if [[ -z ${secrets[i]-} ]]; then
            ((code)) || code=$(exit_code "${statuses[i]-}")
            printf '%s: %s: the service refused with status %s: %s\n' "${0##*/}" "${names[i]}" \
                "$(printable "${statuses[i]:-unknown}")" "$(printable "${details[i]-}")" >&2
        fi
    done
    ((code == 0)) || exit "$code"
    for ((i = 0; i < count; i++)); do
        decode_base64 "${secrets[i]}"
        [[ $escaped != *\\x00* ]] ||
            fail "the value of ${names[i]} contains a NUL byte: an environment variable cannot hold it"
        printf -v value '%b' "$escaped"
        # Linux's limit, with the equals sign and the NUL at the end.
        ((${#names[i]} + ${#value} + 2 <= 131072)) ||
            fail "the value of ${names[i]} is too large for an environment variable: at most 128 KiB with its name"
        _run_with_secrets+=("${names[i]}=$value")
    done
}

main() {
    local LC_ALL=C keep_token='' names=() items='' hint=''
    while (($#)) && [[ $1 != -- ]]; do
        case $1 in
            -h | --help)
                usage
                exit
                ;;
            --keep-token) keep_token=true ;;
            -*) misused "unknown option" ;;
            *) add_reference "$1" ;;
        esac
        shift
    done
    ((${#names[@]} && $# > 1)) || misused "expected NAME=REF... -- COMMAND"
    ((${#names[@]} <= 100)) || misused "at most 100 secrets"
    shift
    # Before the fetch: it may be the last one that a secret allows.
    type -P -- "$1" >/dev/null || fail "command not found: $1" 127
    fetch_all "${names[@]}"
    [[ $keep_token ]] || unset VAULT_TOKEN
    # With a master key, the address is that of the service's database; without one, it is the command's.
    [[ -z ${MASTER_KEY-}${MASTER_KEY_FILE-}${MASTER_KEY_FALLBACKS-}${MASTER_KEY_FALLBACKS_FILE-} ]] ||
        unset MASTER_KEY MASTER_KEY_FILE MASTER_KEY_FALLBACKS MASTER_KEY_FALLBACKS_FILE MONGO_URI MONGO_URI_FILE
    [[ -z ${MASTER_KEYRING_FILE-} ]] ||
        unset MASTER_KEYRING_FILE PKCS11_PIN PKCS11_PIN_FILE TRANSIT_TOKEN TRANSIT_TOKEN_FILE MONGO_URI MONGO_URI_FILE
}

# The only global variable, because the command's variables can have any other name. It is unset before the command runs.
_run_with_secrets=()
main "$@"
while [[ $1 != -- ]]; do shift; done
set -- "${_run_with_secrets[@]}" "$@"
unset _run_with_secrets
while [[ $1 != -- ]]; do
    # A warning of bash, such as that a locale is unknown, would show the value.
    export "${1?}" 2>/dev/null
    shift
done
shift
exec -- "$@"
