# shellcheck shell=bash
# Functions shared by create_secret.sh and fetch_secret.sh, which source this file. Requires bash and curl.
#
# Values and tokens pass only through variables, builtins and pipes. Never make one an argument of a child process:
# any local user can list arguments. Never use a here-string: bash may write it to a file.

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

read_value() { # read_value ARGUMENT: set `value` to ARGUMENT, or for - to standard input without one trailing newline
    value=$1
    if [[ $value == - ]]; then
        # Reads up to a NUL, which bash cannot store. Success means that the input contains one.
        ! IFS= read -r -d '' value || fail "standard input contains a NUL byte"
        # Cut by length: on a long value, bash takes seconds to match a suffix.
        [[ $value != *$'\n' ]] || value=${value:0:${#value}-1}
    fi
}

json_string() { # json_string TEXT: print TEXT as a JSON string
    local LC_ALL=C text=$1 backslash=\\ quote=\" code character escape
    # Test before replacing: on a long text, bash takes seconds to find nothing to replace.
    [[ $text != *"$backslash"* ]] || text=${text//"$backslash"/"$backslash$backslash"}
    [[ $text != *"$quote"* ]] || text=${text//"$quote"/"$backslash$quote"}
    if [[ $text == *[[:cntrl:]]* ]]; then
        for ((code = 1; code < 32; code++)); do
            printf -v escape '\\u%04x' "$code"
            printf -v character '%b' "\\x${escape: -2}"
            text=${text//"$character"/"$escape"}
        done
    fi
    printf '"%s"' "$text"
}

headers() { # print the request headers, one per line
    printf 'Content-Type: application/json\n'
    [[ -z ${VAULT_TOKEN-} ]] || printf 'Authorization: Bearer %s\n' "$VAULT_TOKEN"
}

post() { # post PATH FIELD VALUE: send {"FIELD": "VALUE"} and print the response; fail unless the status is 200
    local url=${VAULT_URL:-http://localhost:8000} reply status
    # A newline in the token would start another header.
    [[ ${VAULT_TOKEN-} != *[[:cntrl:][:space:]]* ]] || fail "VAULT_TOKEN contains whitespace or control characters"
    reply=$(
        printf '{"%s":%s}' "$2" "$(json_string "$3")" |
            curl --silent --show-error --max-time 30 --header @<(headers) \
                --data-binary @- --write-out '\n%{http_code}' --url "${url%/}$1"
    ) || fail "no answer from $url"
    status=${reply##*$'\n'}
    reply=${reply%$'\n'*}
    [[ $status == 200 ]] || fail "the service refused with status $status: $reply"
    printf '%s\n' "${reply%$'\n'}"
}
