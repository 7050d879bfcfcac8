"""The command `secret-manager`, for operators."""

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
    """Run and operate the Secret Manager."""


for command in (audit, backup, dev, drill, keys, ready, replicaset, restore, serve, tokens):
    commands.add_command(command)


def _handle_sighup(number: int, frame: FrameType | None) -> None:
    # The shell and the kernel both signal a closed terminal. The second signal must not interrupt the
    # cleanup.
    signal.signal(number, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


def main() -> None:
    """Run the command line; expected errors print a message instead of a traceback."""
    harden()
    # An orchestrator's stop and a closed terminal end a command as Ctrl-C does: it cleans up, and records
    # its end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Under `nohup`, SIGHUP is ignored and stays ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle_sighup)
    try:
        commands(prog_name="secret-manager")
    except VaultError as error:
        click.echo(f"secret-manager: {error}", err=True)
        sys.exit(1)
