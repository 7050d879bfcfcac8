# shellcheck shell=bash
# Functions shared by create_secret.sh, fetch_secret.sh and run_with_secrets.sh, which source this file. Requires bash
# 4 or newer, and curl; no other program, so base64 is coded here.
#
# Values and tokens pass only through variables, builtins and pipes. Never make one an argument of a child process:
# any local user can list arguments. Never use a here-string: bash may write it to a file.
#
# All variables are local: the caller may export others of the same names. Bash then exports the local ones, too, except
# with +x; what curl must not get needs that.

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

read_value() { # read_value ARGUMENT: set `value` to ARGUMENT, or for - to standard input without one trailing newline
    value=$1
    if [[ $value == - ]]; then
        # Reads up to a NUL, which bash cannot store. Success means that the input contains one.
        ! IFS= read -r -d '' value || fail "standard input contains a NUL byte"
        # Cut by length: on a long value, bash takes seconds to match a suffix.
        [[ $value != *$'\n' ]] || value=${value:0:${#value}-1}
    elif [[ $value == -* ]]; then
        misused "an argument that begins with - is never sent: give the value on standard input, with the argument -"
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

split_strings() { # split_strings JSON: set `parts` to its texts between quotes; the odd ones are inside strings
    # Word splitting, because bash takes seconds to match patterns in a long text.
    local IFS='"'
    set -f
    # shellcheck disable=SC2034,SC2206
    parts=($1)
    set +f
}

decode_base64() { # decode_base64 TEXT: set `escaped` to its bytes as \xNN, which printf's %b writes and NULs survive
    local LC_ALL=C text=$1 chunk start i n triple
    local alphabet=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/
    local -A digit=([=]=0)
    # Also keeps the reply out of the arithmetic below, which would evaluate it.
    [[ $text =~ ^[A-Za-z0-9+/]+={0,2}$ && $((${#text} % 4)) == 0 ]] || fail "the service sent invalid base64"
    for ((i = 0; i < 64; i++)); do digit[${alphabet:i:1}]=$i; done
    escaped=
    # In chunks: bash measures the whole text for each of its substrings.
    for ((start = 0; start < ${#text}; start += 1024)); do
        chunk=${text:start:1024}
        for ((i = 0; i < ${#chunk}; i += 4)); do
            n=$((digit[${chunk:i:1}] << 18 | digit[${chunk:i+1:1}] << 12 | digit[${chunk:i+2:1}] << 6))
            n=$((n | digit[${chunk:i+3:1}]))
            printf -v triple '\\x%02x\\x%02x\\x%02x' $((n >> 16)) $((n >> 8 & 255)) $((n & 255))
            escaped+=$triple
        done
    done
    for i in 1 2; do
        [[ $text != *= ]] || text=${text:0:${#text}-1} escaped=${escaped:0:${#escaped}-4}
    done
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

exit_code() { # exit_code STATUS: print the exit code for an HTTP status other than 200
    case $1 in
        404) printf 3 ;;
        401 | 403) printf 4 ;;
        502 | 503 | 504) printf 5 ;;
        *) printf 1 ;;
    esac
}

request() { # request PATH JSON [STATUS HINT]: send JSON and set `reply`; fail unless it has status 200, with HINT at STATUS
    local url=${VAULT_URL:-http://localhost:8000} status=0 options=() hint=''
    [[ -z ${VAULT_CACERT-} ]] || options=(--cacert "$VAULT_CACERT")
    # Without TLS, a proxy of the environment would see the token and the value.
    [[ $url == [Hh][Tt][Tt][Pp][Ss]:* ]] || options+=(--noproxy '*')
    require_one_header VAULT_TOKEN
    require_one_header VAULT_ROLE
    reply=$(
        printf '%s' "$2" |
            curl --silent --show-error --max-time 30 ${options[@]+"${options[@]}"} --header @<(headers) \
                --data-binary @- --write-out '\n%{http_code}' --url "${url%/}$1"
    ) || status=$?
    case $status in
        0) ;;
        1 | 3) fail "VAULT_URL is not a URL of HTTP: $url" 2 ;;
        127) fail "curl not found: install it" ;;
        *) fail "no answer from $url" 5 ;;
    esac
    # Cut by length, as above.
    status=${reply: -3}
    reply=${reply:0:${#reply}-4}
    [[ $reply != *$'\n' ]] || reply=${reply:0:${#reply}-1}
    [[ $status != "${3-}" || -z ${4-} ]] || hint=" Hint: $4"
    [[ $status == 200 ]] ||
        fail "the service refused with status $status: $(reason "$reply")$hint" "$(exit_code "$status")"
}
