#!/usr/bin/env bash
# Run a command with secrets in its environment, fetched by fetch_secret.sh beside this file. Values are in no argument and no
# file. The names of variables begin with _, so that they hide none of the command's.
set -euo pipefail
_usage='usage: run_with_secrets.sh [--keep-token] NAME=REF... -- COMMAND [ARGUMENT]...
Exports each secret REF, a name or an ID, as the variable NAME, and replaces itself with COMMAND: signals and the exit
code are those of COMMAND. If a secret cannot be fetched, COMMAND does not run. -h, --help: print this text.
    run_with_secrets.sh DB_PASSWORD=billing/db-password -- ./server --port 8080
COMMAND does not get VAULT_TOKEN, unless --keep-token is given.
Reads VAULT_URL (default: http://localhost:8000), VAULT_TOKEN, VAULT_ROLE (of a JWT) and VAULT_CACERT (a file).
Exit codes: those of COMMAND, or of fetch_secret.sh; 2 wrong usage, 127 COMMAND not found'
fail() { printf 'run_with_secrets.sh: %s\n' "$1" >&2; exit "${2:-1}"; }
_keep='' _pairs=() _variables=()
# Bash ignores what is assigned to these, or computes with it.
_special='^(BASH.*|DIRSTACK|E?UID|EPOCH.*|FUNCNAME|GROUPS|HISTCMD|LINENO|OPTIND|PIPESTATUS|PPID|S?RANDOM|SECONDS|SH.*L.*|_.*)$'
while (($#)) && [[ $1 != -- ]]; do
    case $1 in
        -h | --help) printf '%s\n' "$_usage"; exit ;;
        --keep-token) _keep=true ;;
        [A-Za-z]*=?*) _pairs+=("$1") ;;
        *) fail "expected NAME=REF before --. Hint: --help" 2 ;;
    esac
    shift
done
((${#_pairs[@]} && $# > 1)) || fail "expected NAME=REF... -- COMMAND. Hint: --help" 2
shift
type -P -- "$1" >/dev/null || fail "command not found: $1" 127 # Before a fetch, which may be the last one allowed.
for _pair in "${_pairs[@]}"; do
    _name=${_pair%%=*} _field=--name _value=''
    [[ $_name =~ ^[A-Za-z0-9_]+$ && ! $_name =~ $_special ]] || fail "$_name cannot be set: choose another name" 2
    [[ ! ${_pair#*=} =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]] || _field=--raw
    ! IFS= read -r -d '' _value < <("${0%/*}/fetch_secret.sh" --raw "$_field" "${_pair#*=}") ||
        fail "the value of $_name contains a NUL byte"
    wait $! || fail "$_name was not fetched" $?
    _variables+=("$_name=$_value")
done
[[ -z ${!MASTER_KEY@} ]] || unset "${!MASTER_KEY@}" MONGO_URI MONGO_URI_FILE
[[ $_keep ]] || unset VAULT_TOKEN
export "${_variables[@]}" 2>/dev/null # A warning of bash, such as that a locale is unknown, would show the value.
exec -- "$@"
