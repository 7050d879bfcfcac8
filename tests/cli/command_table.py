"""Every command of `secret-manager`, with what a test needs to make it succeed and fail.

A new command needs an entry here, or in the tables of its feature.
"""

from collections.abc import Iterator

import click

from tests.support.command_entries import Entry, Needs, of_mongodb
from tests.support.features import tables
from vault.cli import commands

#: By the words of the command.
ENTRIES = {
    "audit checkpoint": of_mongodb(),
    "audit disable": of_mongodb(writes=True),
    "audit enable": of_mongodb(writes=True),
    "audit export": of_mongodb(),
    "audit public-key": of_mongodb(),
    "audit query": of_mongodb(),
    "audit tail": of_mongodb("--no-follow"),
    "audit verify": of_mongodb(),
    "auth disable": of_mongodb("--yes"),
    "broker": Entry(Needs.SERVING),
    "broker env": Entry(
        Needs.NOTHING, ("--session-token-file", "token", "--ca", "file", "--bundle", "bundle.pem")
    ),
    "broker run": Entry(Needs.SERVING, ("--session-token-file", "token", "--", "true")),
    "completion": Entry(Needs.NOTHING, ("bash",)),
    "compose down": Entry(Needs.NOTHING, ("db",)),
    "compose metadata": Entry(Needs.NOTHING),
    "compose up": Entry(Needs.SERVICE, ("--env", "A=a", "db")),
    "config check": Entry(Needs.NOTHING),
    "credentials": Entry(Needs.SERVING),
    "dev": Entry(Needs.SERVING),
    "keys generate": Entry(Needs.NOTHING),
    "keys rewrap": of_mongodb(writes=True),
    "keys status": of_mongodb(),
    "login": Entry(Needs.SERVICE, ("--token-file", "token")),
    "logout": Entry(Needs.NOTHING),
    "mcp": Entry(Needs.SERVING),
    "ready": Entry(Needs.PROBED),
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
    "secret restore": Entry(Needs.SERVICE, ("app/db",)),
    "secret run": Entry(Needs.SERVICE, ("--env", "DB=app/db", "--", "true")),
    "secret set": Entry(Needs.SERVICE, ("app/db", "--generate", "32")),
    "serve": Entry(Needs.SERVING),
    "status": Entry(Needs.OWN),
    "swarm check": Entry(Needs.SERVICE, ("stack.yml", "--stack", "s")),
    "swarm check-deployment": Entry(Needs.ENGINE),
    "swarm deploy": Entry(Needs.ENGINE),
    "swarm follow": Entry(Needs.ENGINE),
    "swarm holders": Entry(Needs.SERVICE, ("app/db",)),
    "swarm pin-images": Entry(Needs.NOTHING),
    "swarm rotate": Entry(Needs.ENGINE, ("app/db", "--generate", "32")),
    "swarm rotate-key": Entry(Needs.ENGINE),
    "swarm rotate-secret": Entry(Needs.ENGINE, ("app/db", "--generate", "32")),
    "swarm run": Entry(Needs.ENGINE, ("keys", "status")),
    "swarm-driver": Entry(Needs.PROBED, ("--check", "--socket", "no-socket")),
    "tokens create": of_mongodb("--name", "ci", "--role", "reader", writes=True),
    "tokens list": of_mongodb(writes=True),
    "tokens revoke": of_mongodb("ci", writes=True),
    "whoami": Entry(Needs.SERVICE),
}
for entries in tables("ENTRIES"):
    ENTRIES |= entries


def leaves(group: click.Group = commands, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not a group and not hidden, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{' '.join((*words, name))}: in _FUNCTIONS, it has another name"
        runs = not command.hidden
        if isinstance(command, click.Group):
            # Such as `backup FILE`, with `backup schedule` in it.
            runs = command.invoke_without_command
            yield from leaves(command, *words, name)
        if runs:
            yield " ".join((*words, name)), command
