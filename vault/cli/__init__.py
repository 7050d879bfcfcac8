"""The command `secret-manager`, for operators."""

import logging
import signal
import sys
from functools import partial
from types import FrameType
from typing import Any

import click

from vault import __version__
from vault.common import feature
from vault.common.processes import harden, hide_memory
from vault.toolkit.cli.credentials import by_credential
from vault.toolkit.cli.exits import SignalledError, closed_pipes, discard_unwritten, reported
from vault.toolkit.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "audit": "vault.service.commands.audit.group:audit",
    "auth": "vault.service.commands.auth:auth",
    "broker": "vault.clients.broker.commands:broker",
    "completion": "vault.toolkit.cli.completion:completion",
    "compose": "vault.clients.people.compose:compose",
    "config": "vault.service.commands.config:config",
    "credentials": "vault.clients.systemd.commands:credentials",
    "dev": "vault.clients.dev.command:dev",
    "keys": "vault.service.commands.keys:keys",
    "login": "vault.clients.people.login:login",
    "logout": "vault.clients.people.login:logout",
    "mcp": "vault.clients.mcp.commands:mcp",
    "ready": "vault.service.commands.service:ready",
    "secret": "vault.clients.people.secret:secret",
    "serve": "vault.service.commands.service:serve",
    "status": "vault.service.commands.status:status",
    "swarm": "vault.clients.swarm.commands.group:swarm",
    "swarm-driver": "vault.clients.swarm.commands.driver:swarm_driver",
    "tokens": by_credential("vault.service.commands.tokens:tokens", "vault.clients.people.tokens:tokens"),
    "whoami": "vault.clients.people.login:whoami",
}

_SUMMARIES = {
    "audit": "Inspect, export and verify the audit trail.",
    "auth": "Disable authentication for this database.",
    "broker": "Attach secrets to requests of programs that never get them.",
    "completion": "Print a script that completes commands in a shell.",
    "compose": "Give services of a Compose file their secrets.",
    "config": "Check the settings of the service.",
    "credentials": "Give units of systemd their credentials.",
    "dev": "Run the service with its own MongoDB, for development.",
    "keys": "Generate, inspect and rotate master keys.",
    "login": "Keep an address and a token for later commands.",
    "logout": "Remove the address and the token of your login.",
    "mcp": "Tell agents which secrets they can use, without values.",
    "ready": "Check that the service on this machine is ready.",
    "secret": "Store, read and use secrets with a token.",
    "serve": "Run the service under gunicorn.",
    "status": "Show what needs a look, in one line for each part.",
    "swarm": "Manage a deployment on a swarm and its services' secrets.",
    "swarm-driver": "Give Docker Swarm's tasks their secrets.",
    "tokens": "Create, list and revoke tokens.",
    "whoami": "Print who you are to the service, and your rights.",
}

#: The commands for secrets, and words of other programs for them, which people look for here.
_OF_SECRETS = (
    *("delete", "describe", "diff", "edit", "export", "generate", "get", "history", "list", "purge"),
    *("run", "set"),
    *(name for name, _ in feature.commands("secret")),
)
_SYNONYMS = {
    **{name: f"secret {name}" for name in _OF_SECRETS},
    "create": "secret set",
    "put": "secret set",
    "rm": "secret delete",
    "show": "secret get",
}

#: The commands of the user's programs, which keep their rights and limits. No options precede them.
_RUNS = (["secret", "run"], ["broker", "run"])


class _CommandLine(LazyGroup):
    """The whole command line. It ends every failure in the same way, see `vault.toolkit.cli.exits`."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run the command line, and exit; without *standalone_mode*, raise the errors instead."""
        run: Any = partial(super().main, *args, standalone_mode=False, **options)
        if not standalone_mode:
            return run()
        with reported():
            code = run()
        sys.exit(code)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Return the context of a command line; help and version are printed here."""
        with closed_pipes():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of *ctx*."""
        with closed_pipes():
            return super().invoke(ctx)


@click.group(
    cls=_CommandLine,
    functions=_FUNCTIONS,
    summaries=_SUMMARIES,
    synonyms=_SYNONYMS,
    words="",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="secret-manager")
def commands() -> None:
    """Run and operate the Secret Manager."""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        # The shell and the kernel both signal a closed terminal. The second signal must not interrupt the
        # cleanup.
        signal.signal(number, signal.SIG_IGN)
    raise SignalledError(number)


def main() -> None:
    """Run the command line; a failure is one line, see `vault.toolkit.cli.exits`."""
    if sys.argv[1:3] in _RUNS:
        hide_memory()
    else:
        harden()
    # An orchestrator's stop and a closed terminal end a command as Ctrl-C does: it cleans up, and records
    # its end.
    signal.signal(signal.SIGTERM, _interrupt)
    # Under `nohup`, SIGHUP is ignored and stays ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    # The line that the command prints says it; the log quotes the driver's whole state.
    logging.getLogger("vault.core.documents.guard").setLevel(logging.ERROR)
    try:
        commands(prog_name="secret-manager")
    finally:
        discard_unwritten()
