"""Every command of `secret-manager`, with what a test needs to make it succeed and fail.

A table of `docs/exit-codes.md` is made from it. A new command needs an entry here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import click

from vault.cli import commands
from vault.core.outcomes import Exit


class Needs(Enum):
    """The dependencies of a command, and so its possible failures."""

    NOTHING = auto()
    #: MongoDB, and the master key.
    MONGODB = auto()
    #: A server that checks a credential.
    SERVICE = auto()
    #: A server that is asked without a credential.
    PROBED = auto()
    #: A Docker Engine in swarm mode, and the service.
    ENGINE = auto()
    #: A keyring file, and MongoDB; `tests/cli/operator/custody/test_group.py` has their failures.
    CUSTODY = auto()
    #: It is a server, which runs until it is stopped.
    SERVING = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: valid arguments of it, and what it needs."""

    needs: Needs
    #: Valid arguments. Files are in the working folder; `SERVER` is the address of the server that it needs.
    arguments: tuple[str, ...] = ()
    #: Exit codes with a meaning of their own, for the document.
    own_codes: str = ""
    #: More arguments for an attempt without the server, which must not wait for it.
    impatient: tuple[str, ...] = ()

    @property
    def away(self) -> Exit | None:
        """The exit code without the server that it needs; None if it needs none."""
        return None if self.needs in (Needs.NOTHING, Needs.SERVING) else Exit.UNAVAILABLE

    @property
    def denied(self) -> Exit | None:
        """The exit code without permission; None if it needs none."""
        return Exit.DENIED if self.needs in (Needs.MONGODB, Needs.SERVICE, Needs.CUSTODY) else None


def _mongodb(*arguments: str, own_codes: str = "", impatient: tuple[str, ...] = ()) -> Entry:
    return Entry(Needs.MONGODB, arguments, own_codes, impatient)


def _custody(*arguments: str, own_codes: str = "") -> Entry:
    return Entry(Needs.CUSTODY, arguments, own_codes)


_ISSUER = (
    "ci",
    "--issuer",
    "https://ci.example",
    "--audience",
    "vault",
    "--jwks-url",
    "https://ci.example/k",
)
_ROLE = ("deploy", "--issuer", "ci", "--claim", "sub=job", "--scope", "secret:fetch")

#: By the words of the command.
ENTRIES = {
    "audit checkpoint": _mongodb(),
    "audit compact": _mongodb(),
    "audit disable": _mongodb(),
    "audit enable": _mongodb(),
    "audit export": _mongodb(),
    "audit public-key": _mongodb(),
    "audit query": _mongodb(),
    "audit reconcile": _mongodb("--provider-log", "log", own_codes="1 the log and the trail differ"),
    "audit report": _mongodb(),
    "audit tail": _mongodb("--no-follow"),
    "audit verify": _mongodb(own_codes="1 the trail was changed, 3 a finding needs a look"),
    "audit witness": _mongodb(own_codes="1 a witness refuses, 5 also if a witness does not answer"),
    "auth disable": _mongodb("--yes"),
    "backup": _mongodb("new.tar"),
    "completion": Entry(Needs.NOTHING, ("bash",)),
    "compose down": Entry(Needs.NOTHING, ("db",)),
    "compose metadata": Entry(Needs.NOTHING),
    "compose up": Entry(Needs.SERVICE, ("--env", "A=a", "db")),
    "credentials": Entry(Needs.SERVING),
    "dev": Entry(Needs.SERVING),
    "drill": _mongodb("backup.tar", own_codes="1 the backup is bad, 3 a finding needs a look"),
    "exposure": _mongodb("app/db"),
    "import vault": Entry(
        Needs.SERVICE,
        ("--token-file", "token", "--address", "SERVER"),
        "1 also if anything differs",
    ),
    "issuers create": _mongodb(*_ISSUER),
    "issuers delete": _mongodb("ci"),
    "issuers list": _mongodb(),
    "issuers test": _mongodb("--file", "jwt", own_codes="1 the service would refuse the JWT"),
    "keys custody add": _custody("b", "command", "/bin/cat"),
    "keys custody check": _custody(own_codes="1 a slot refuses, 5 a provider is unavailable"),
    "keys custody drop": _custody("0123456789abcdef"),
    "keys custody init": Entry(
        Needs.NOTHING, ("new.json", "--slot", "a=command,/bin/cat"), "5 a provider is unavailable"
    ),
    "keys custody new-key": _custody(),
    "keys custody promote": _custody("0123456789abcdef"),
    "keys custody recovery create": _custody("--threshold", "2", "--shares", "3", "--out-dir", "shares"),
    "keys custody recovery restore": _custody("--slot", "c=command,/bin/cat"),
    "keys custody remove": _custody("b"),
    "keys custody rewrap": _custody("a"),
    "keys custody show": Entry(Needs.NOTHING),
    "keys generate": Entry(Needs.NOTHING),
    "keys rewrap": _mongodb(own_codes="1 values are left"),
    "keys status": _mongodb(own_codes="1 a key is missing"),
    "login": Entry(Needs.SERVICE, ("--token-file", "token")),
    "logout": Entry(Needs.NOTHING),
    "offboard": _mongodb("--principal", "alice"),
    "ready": Entry(Needs.PROBED, own_codes="1 the service is not ready"),
    "replicaset grant": _mongodb("--admin-uri-file", "admin-uri"),
    "replicaset initiate": _mongodb(
        *("--key-file", "key", "--root-password-file", "password"), impatient=("--timeout", "1s")
    ),
    "replicaset status": Entry(Needs.PROBED, own_codes="1 a member is unavailable or late"),
    "restore": _mongodb("backup.tar"),
    "roles create": _mongodb(*_ROLE),
    "roles delete": _mongodb("deploy"),
    "roles list": _mongodb(),
    "roles test": _mongodb("--file", "jwt", own_codes="1 the service would refuse the JWT"),
    "rotation create": _mongodb(
        *(
            "app/db",
            "--kind",
            "command",
            "--admin",
            "app/admin",
            "--user",
            "a",
            "--user",
            "b",
            "--every",
            "30d",
        )
    ),
    "rotation delete": _mongodb("app/db"),
    "rotation list": _mongodb(),
    "rotation pause": _mongodb("app/db"),
    "rotation run": _mongodb("app/db", own_codes="1 a step fails"),
    "rotation show": _mongodb("app/db"),
    "secret delete": Entry(Needs.SERVICE, ("app/db", "--yes")),
    "secret describe": Entry(Needs.SERVICE, ("app/db",)),
    "secret diff": Entry(Needs.SERVICE, ("app/db", "1", "2")),
    "secret edit": Entry(Needs.SERVICE, ("app/db",)),
    "secret export": Entry(Needs.SERVICE),
    "secret generate": Entry(Needs.NOTHING),
    "secret history": Entry(Needs.SERVICE, ("app/db",)),
    "secret import": Entry(Needs.SERVICE, ("values.env",)),
    "secret get": Entry(Needs.SERVICE, ("app/db",)),
    "secret list": Entry(Needs.SERVICE),
    "secret purge": Entry(Needs.SERVICE, ("app/db", "--yes")),
    "secret request": Entry(Needs.SERVICE, ("app/db",)),
    "secret restore": Entry(Needs.SERVICE, ("app/db",)),
    "secret run": Entry(
        Needs.SERVICE, ("--env", "DB=app/db", "--", "true"), "otherwise the program's own exit code"
    ),
    "secret set": Entry(Needs.SERVICE, ("app/db", "--generate", "32")),
    "secret share": Entry(Needs.SERVICE, ("app/db",)),
    "serve": Entry(Needs.SERVING),
    "swarm check": Entry(Needs.SERVICE, ("stack.yml", "--stack", "s")),
    "swarm follow": Entry(Needs.ENGINE),
    "swarm holders": Entry(Needs.SERVICE, ("app/db",)),
    "swarm import": Entry(Needs.ENGINE),
    "swarm rotate": Entry(Needs.ENGINE, ("app/db", "--generate", "32")),
    "swarm-driver": Entry(Needs.PROBED, ("--check", "--socket", "no-socket")),
    "tokens create": _mongodb("--name", "ci", "--role", "reader"),
    "tokens list": _mongodb(),
    "tokens revoke": _mongodb("ci"),
    "webhooks create": _mongodb("https://hooks.invalid/", "--event", "secret.updated"),
    "webhooks delete": _mongodb("0" * 16),
    "webhooks list": _mongodb(),
    "webhooks replay": _mongodb("0" * 16, "--from", "12h"),
    "webhooks test": _mongodb("0" * 16, own_codes="1 the receiver does not accept the event"),
    "whoami": Entry(Needs.SERVICE),
}


def leaves(group: click.Group = commands, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not a group and not hidden, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{' '.join((*words, name))}: in _FUNCTIONS, it has another name"
        if isinstance(command, click.Group):
            yield from leaves(command, *words, name)
        elif not command.hidden:
            yield " ".join((*words, name)), command
