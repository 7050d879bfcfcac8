# shellcheck shell=bash
# What create_secret.sh and fetch_secret.sh share; sourced by them. Needs bash and curl.
#
# A value, or a token, goes through variables, builtins and pipes only: never an argument of a child process, which every
# user of the machine can list, and never a here-string, which bash may write to a file.

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

read_value() { # read_value ARGUMENT: set `value` to it, or for - to standard input less one trailing newline
    value=$1
    if [[ $value == - ]]; then
        # Reads up to a NUL, which bash cannot hold; success means that it met one.
        ! IFS= read -r -d '' value || fail "standard input holds a NUL byte"
        # By its length: over a long value bash takes seconds to match a suffix.
        [[ $value != *$'\n' ]] || value=${value:0:${#value}-1}
    fi
}

json_string() { # json_string TEXT: print it as a JSON string
    local LC_ALL=C text=$1 backslash=\\ quote=\" code character escape
    # Only where there is something to replace: over a long text bash takes seconds to find nothing.
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

headers() { # print the request's headers, one a line
    printf 'Content-Type: application/json\n'
    [[ -z ${VAULT_TOKEN-} ]] || printf 'Authorization: Bearer %s\n' "$VAULT_TOKEN"
}

post() { # post PATH FIELD VALUE: send {"FIELD": "VALUE"}, print the service's reply, fail if it refuses
    local url=${VAULT_URL:-http://localhost:8000} reply status
    # A line feed in it would begin another header.
    [[ ${VAULT_TOKEN-} != *[[:cntrl:][:space:]]* ]] || fail "VAULT_TOKEN holds white space or control characters"
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
