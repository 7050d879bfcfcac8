#!/usr/bin/env bash
# As root, run a command of operators with the settings and credentials of secret-manager.service and its
# drop-ins, in the current folder: see docs/install-systemd.md. It needs no other file of the checkout.
#   MONGO_URI=… run_command.sh COMMAND [ARGUMENT]…
# MONGO_URI, if set, replaces the unit's. It must not contain a password: systemd shows it to all users.
set -euo pipefail

unit=secret-manager-command-$$.service
options=(--quiet --pipe --wait --collect --same-dir --unit="$unit" --setenv=HOME --setenv=TERM="${TERM-dumb}")
text=$(systemctl cat secret-manager.service)
while read -r line; do
    # systemd-run does not know the folder of credentials, %d, in advance.
    options+=(--property="${line//%d//run/credentials/$unit}")
done < <(grep -E '^(Environment|EnvironmentFile|LoadCredential|LoadCredentialEncrypted)=' <<<"$text")
[[ -z ${MONGO_URI-} ]] || options+=(--property=UnsetEnvironment=MONGO_URI_FILE --setenv=MONGO_URI)
exec systemd-run "${options[@]}" /opt/secret-manager/bin/secret-manager "$@"
