# shellcheck shell=bash
# Help and wrong arguments of the scripts that a checkout needs. They define `usage` and source this file first,
# so that a question or a slip starts nothing. Arguments are not quoted: one may be a key that was pasted. The
# clients' scripts need no checkout.

misused() { # misused MESSAGE: fail because of the arguments
    printf '%s: %s. Hint: scripts/%s --help\n' "${0##*/}" "$1" "${0##*/}" >&2
    exit 2
}

answer_help() { # answer_help ARGUMENT…: print the usage and end if the first argument asks for it
    case ${1-} in
        -h | --help)
            usage
            exit 0
            ;;
    esac
}

expect_none() { # expect_none ARGUMENT…: fail if there is any
    (($# == 0)) || misused "unexpected argument"
}
