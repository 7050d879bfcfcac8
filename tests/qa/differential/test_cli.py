"""The command `bao`: it prints and exits the same with this service as with OpenBao."""

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.qa.differential.comparison import Observer, compare
from tests.support.issuer import sign
from tests.support.openbao import BAO, CLAIM, ROLE, VALUE, Server, Servers

pytestmark = pytest.mark.process

#: Commands by program. `!NAME` is the caller of all that follow; `> NAME` keeps what is printed, as `{NAME}`.
PROGRAMS = {
    "versions": """
        kv get secret/cli/a
        kv put secret/cli/a user=app password=first
        kv put -mount=secret cli/a user=app password=second
        kv put -cas=2 secret/cli/a @value.json
        kv put -cas=2 secret/cli/a a=b
        kv put -cas=0 secret/cli/new a=-
        kv get secret/cli/a
        kv get -version=1 secret/cli/a
        kv get -version=9 secret/cli/a
        kv get -field=user secret/cli/a
        kv get -field=nope secret/cli/a
        kv get -format=json secret/cli/a
        kv get -format=json secret/cli/missing
        kv get nope/a
    """,
    "states": """
        kv put secret/cli/s n=1
        kv put secret/cli/s n=2
        kv put secret/cli/s n=3
        kv delete secret/cli/s
        kv get -format=json secret/cli/s
        kv undelete -versions=3 secret/cli/s
        kv get -field=n secret/cli/s
        kv delete -versions=1,2 -mount=secret cli/s
        kv undelete -versions=2 secret/cli/s
        kv destroy -versions=1 secret/cli/s
        kv get -version=1 secret/cli/s
        kv metadata get secret/cli/s
        kv rollback -version=2 secret/cli/s
        kv get secret/cli/s
        kv rollback -version=1 secret/cli/s
        kv rollback -version=1 secret/cli/missing
    """,
    "patches": """
        kv patch secret/cli/p a=b
        kv put secret/cli/p a=1 b=2
        kv patch secret/cli/p c=3
        kv patch -method=rw secret/cli/p e=5
        kv patch -remove-data=a secret/cli/p
        kv patch -cas=5 secret/cli/p f=6
        kv get -format=json secret/cli/p
        kv delete secret/cli/p
        kv patch secret/cli/p g=7
    """,
    "lists": """
        kv list secret/cli-list
        kv put secret/cli-list/one a=1
        kv put secret/cli-list/two/three a=1
        kv list secret/cli-list
        kv list -mount=secret cli-list/two
        kv list -format=json secret/cli-list
    """,
    "metadata": """
        kv put secret/cli/m a=1
        kv metadata put -custom-metadata=team=a -custom-metadata=env=prod secret/cli/m
        kv metadata get secret/cli/m
        kv metadata patch -custom-metadata=env=test secret/cli/m
        kv metadata patch -remove-custom-metadata=team secret/cli/m
        kv metadata get -format=json secret/cli/m
        kv metadata patch -custom-metadata=env=test secret/cli/missing
        kv metadata delete secret/cli/m
        kv metadata get secret/cli/m
        kv enable-versioning secret/
    """,
    "paths": """
        write secret/data/cli/w @data.json
        read secret/data/cli/w
        read -format=json secret/data/cli/w
        read secret/data/cli/missing
        list secret/metadata/cli
        delete secret/data/cli/w
        read secret/data/cli/w
        delete secret/metadata/cli/w
        status
        status -format=json
    """,
    "callers": """
        kv put secret/cli/c a=1
        !team
        kv put secret/team/cli/c a=1
        kv get secret/cli/c
        kv list secret/
        !bao
        token lookup
        token renew -increment=30m
        token lookup -format=json
        !wrong
        kv get secret/cli/c
        kv put secret/cli/c a=1
        token renew
        !anonymous
        kv get secret/cli/c
        !admin
        token lookup
        token capabilities secret/data/cli/c
        kv get -namespace=nope secret/cli/c
    """,
    "tokens": """
        token create -ttl=1h -field=token > made
        !made
        token lookup
        kv put secret/cli/t a=1
        !anonymous
        login -no-store {made}
        login -no-store wrong
        !made
        token revoke -self
        token lookup
        !admin
        token create -ttl=1h
        token create -period=30m -orphan
        token create -ttl=1h -field=token_accessor > accessor
        token lookup -accessor {accessor}
        token renew -accessor {accessor}
        token revoke -accessor {accessor}
        token lookup -accessor {accessor}
        token create -ttl=1h -field=token > other
        !other
        kv put secret/cli/t a=2
        token create -ttl=30m -field=token > child
        token create -ttl=30m -orphan -field=token > orphan
        !admin
        token lookup {other}
        token renew {other}
        token revoke {other}
        token lookup {other}
        token lookup {child}
        token lookup {orphan}
        token revoke -mode=orphan {orphan}
        token revoke wrong
        !anonymous
        write auth/approle/login role_id={role_id} secret_id={secret_id}
        write -field=token auth/approle/login role_id={role_id} secret_id={secret_id} > app
        write auth/jwt/login role={role} jwt={jwt}
        !app
        kv list secret/cli-none
    """,
    "wrapping": """
        kv put secret/cli/wrapped a=1
        kv get -wrap-ttl=60s secret/cli/wrapped
        read -wrap-ttl=60s -field=wrapping_token secret/data/cli/wrapped > token
        unwrap {token}
        unwrap {token}
        read -wrap-ttl=60s -field=wrapping_token secret/data/cli/wrapped > token
        unwrap -format=json {token}
        write -wrap-ttl=60s -field=wrapping_token sys/wrapping/wrap b=2 > token
        write sys/wrapping/lookup token={token}
        unwrap -field=b {token}
        unwrap wrong
    """,
}


#: Names under which programs keep tokens.
_KEPT = ("made", "app", "other", "child", "orphan", "accessor")


@pytest.mark.parametrize("name", PROGRAMS)
def test_commands_print_the_same(servers: Servers, name: str) -> None:
    """Exit code, standard output and standard error are those with the real server."""

    def program(server: Server, see: Observer) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _run(server, PROGRAMS[name], Path(folder), see)

    compare(servers, f"bao: {name}", program)


def _run(server: Server, commands: str, folder: Path, see: Observer) -> None:
    (folder / "value.json").write_text('{"user": "app", "nested": {"n": [1, 2.50, true, null]}}')
    (folder / "data.json").write_text('{"data": {"user": "app", "port": 5432}}')
    known = {**server.tokens, "wrong": "wrong", "anonymous": ""}
    known |= {"role_id": server.role_id, "secret_id": server.secret_id, "role": ROLE}
    known["jwt"] = sign("ec-1", **{CLAIM: VALUE})
    caller = "admin"
    for line in filter(None, map(str.strip, commands.splitlines())):
        if line.startswith("!"):
            caller = line[1:]
            continue
        command, _, keep = line.partition(" > ")
        arguments = [word.format(**known) for word in shlex.split(command)]
        done = bao(server, *arguments, token=known[caller], folder=folder)
        if keep:
            known[keep] = done.stdout.strip()
        # What is kept is printed alone.
        printed = "<kept>" if keep and done.returncode == 0 else done.stdout
        errors = done.stderr
        for secret in (*map(known.get, _KEPT), known["jwt"]):
            printed, errors = (text.replace(secret or "\0", "<token>") for text in (printed, errors))
        see(f"{caller}$ {line}", {"status": done.returncode, "stdout": _parsed(printed), "stderr": errors})


def _parsed(printed: str) -> Any:
    """Return what was printed: parsed, if it is a JSON object."""
    return json.loads(printed) if printed.startswith("{") else printed


def bao(server: Server, *arguments: str, token: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in *folder*, with no settings but the server's and *token*."""
    settings = {"PATH": os.environ["PATH"], "HOME": str(folder), "BAO_ADDR": server.url}
    return subprocess.run(
        [BAO, *arguments],
        cwd=folder,
        env=settings | ({"BAO_TOKEN": token} if token else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
