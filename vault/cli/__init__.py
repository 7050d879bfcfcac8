"""The operators' command: `secret-manager`."""

import signal
import sys

import click

from vault import __version__
from vault.cli.audit import audit
from vault.cli.backup import backup, drill, restore
from vault.cli.dev import dev
from vault.cli.keys import keys
from vault.cli.ready import ready
from vault.cli.replicaset import replicaset
from vault.cli.serve import serve
from vault.cli.tokens import tokens
from vault.errors import VaultError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="secret-manager")
def commands() -> None:
    """Keep other people's passwords, keys and tokens."""


for command in (audit, backup, dev, drill, keys, ready, replicaset, restore, serve, tokens):
    commands.add_command(command)


def main() -> None:
    """Run the command line; an error raised on purpose is one message, not a traceback."""
    # An orchestrator's stop ends a command as Ctrl-C does: what it began is brought to an end and recorded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        commands(prog_name="secret-manager")
    except VaultError as error:
        click.echo(f"secret-manager: {error}", err=True)
        sys.exit(1)
