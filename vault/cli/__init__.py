"""The operators' command: `secret-manager`."""

import signal
import sys
from types import FrameType

import click

from vault import __version__
from vault.cli.audit import audit
from vault.cli.backup import backup, drill, restore
from vault.cli.dev import dev
from vault.cli.keys import keys
from vault.cli.mongodb import replicaset
from vault.cli.service import ready, serve
from vault.cli.tokens import tokens
from vault.core.errors import VaultError
from vault.core.processes import harden


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="secret-manager")
def commands() -> None:
    """Keep other people's passwords, keys and tokens."""


for command in (audit, backup, dev, drill, keys, ready, replicaset, restore, serve, tokens):
    commands.add_command(command)


def _hang_up(number: int, frame: FrameType | None) -> None:
    # The shell and the kernel both tell of a closed terminal, and the second must not cut off the end.
    signal.signal(number, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


def main() -> None:
    """Run the command line; an error raised on purpose is one message, not a traceback."""
    harden()
    # An orchestrator's stop and a closed terminal end a command as Ctrl-C does: what it began comes to an
    # end and recorded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Unless `nohup` lets it outlive the terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        commands(prog_name="secret-manager")
    except VaultError as error:
        click.echo(f"secret-manager: {error}", err=True)
        sys.exit(1)
