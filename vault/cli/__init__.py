"""The command `secret-manager`, for operators."""

import signal
import sys
from types import FrameType

import click

from vault import __version__
from vault.cli.lazy_group import LazyGroup
from vault.core.errors import VaultError
from vault.core.processes import harden

#: The function of each command, after its module.
_FUNCTIONS = {
    "audit": "vault.cli.audit:audit",
    "backup": "vault.cli.backup:backup",
    "dev": "vault.cli.dev:dev",
    "drill": "vault.cli.backup:drill",
    "import": "vault.cli.imports:imports",
    "issuers": "vault.cli.issuers:issuers",
    "keys": "vault.cli.keys:keys",
    "ready": "vault.cli.service:ready",
    "replicaset": "vault.cli.mongodb:replicaset",
    "restore": "vault.cli.backup:restore",
    "roles": "vault.cli.roles:roles",
    "serve": "vault.cli.service:serve",
    "swarm": "vault.cli.swarm:swarm",
    "swarm-driver": "vault.cli.swarm_driver:swarm_driver",
    "tokens": "vault.cli.tokens:tokens",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="secret-manager")
def commands() -> None:
    """Run and operate the Secret Manager."""


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
