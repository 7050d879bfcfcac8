# shellcheck shell=bash
# Functions of check_swarm.sh for requests by curl.
#
# Values and tokens pass only through variables, builtins and pipes. Never make one an argument of a child process:
# any local user can list arguments. Never use a here-string: bash may write it to a file.

fail() { # fail MESSAGE [EXIT_CODE]
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

misused() { # misused MESSAGE: fail because of the arguments
    fail "$1. Hint: ${0##*/} --help" 2
}

require_value() { # require_value OPTION [VALUE]: fail unless the option has a value, which after a space is no option itself
    [[ ${2:--} != -* ]] || misused "$1 requires a value that does not begin with -"
}

split_strings() { # split_strings JSON: set `parts` to its texts between quotes; the odd ones are inside strings
    # Word splitting, because bash takes seconds to match patterns in a long text.
    local IFS='"'
    set -f
    # shellcheck disable=SC2034,SC2206
    parts=($1)
    set +f
}

require_one_header() { # require_one_header VARIABLE: fail if its value would start another header
    [[ ${!1-} != *[[:cntrl:][:space:]]* ]] || fail "$1 contains whitespace or control characters"
}

headers() { # print the request headers, one per line
    printf 'Content-Type: application/json\n'
    [[ -z ${VAULT_TOKEN-} ]] || printf 'Authorization: Bearer %s\n' "$VAULT_TOKEN"
    [[ -z ${VAULT_ROLE-} ]] || printf 'X-Role: %s\n' "$VAULT_ROLE"
}

printable() { # printable TEXT: print the beginning of a text of the service, without control characters and the token
    # In this locale, all of Unicode's control characters and those that turn text around count as unprintable.
    local LC_ALL=C token=${VAULT_TOKEN-} text
    # Short, because on a long text, bash takes seconds to replace. With stars, no part of a cut token moves in.
    text=${1:0:400+${#token}}
    [[ -z $token ]] || text=${text//"$token"/"${token//?/*}"}
    text=${text:0:400}
    printf '%s' "${text//[![:print:]]/ }"
}

reason() { # reason REPLY: print the detail of a problem; everything else as it is
    local LC_ALL=C parts i
    split_strings "${1:0:65536}"
    for ((i = 1; i + 2 < ${#parts[@]}; i += 2)); do
        # With a backslash at its end, the text goes on after a quote: it is shown whole, as it came.
        if [[ ${parts[i]} == detail && ${parts[i + 1]} =~ ^[[:space:]]*:[[:space:]]*$ && ${parts[i + 2]} != *\\ ]]; then
            printable "${parts[i + 2]}"
            return
        fi
    done
    printable "$1"
}
