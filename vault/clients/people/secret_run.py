"""The command `secret run`: a program that gets secrets."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import click

from vault.clients.people import program
from vault.clients.people.memory_folder import memory_folder, place
from vault.clients.people.selection import selected, selection_options
from vault.clients.people.watch import Found, watching
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client import private_files
from vault.toolkit.client.secrets import Secrets
from vault.toolkit.client.service import Service

_FOLDER = "SECRETS_DIR"


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@selection_options
@click.option("--file", "as_files", is_flag=True, help="Give files in memory, in the folder SECRETS_DIR.")
@click.option("--watch", is_flag=True, help="Restart the program after a change of its secrets.")
@click.option(
    "--interval",
    metavar="DURATION",
    type=parameters.duration,
    default="30s",
    show_default=True,
    help="Time between checks for changes.",
)
@click.option(
    "--grace",
    metavar="DURATION",
    type=parameters.duration,
    default="10s",
    show_default=True,
    help="Time for the program to end before a restart.",
)
@click.option("--keep-token", is_flag=True, help="Leave VAULT_TOKEN in the program's environment.")
@service_options
@output_options
@click.pass_context
def run(
    ctx: click.Context,
    command: tuple[str, ...],
    single: tuple[tuple[str, str], ...],
    prefixes: tuple[str, ...],
    as_files: bool,
    watch: bool,
    interval: timedelta,
    grace: timedelta,
    keep_token: bool,
    service: Service,
    output: Output,
) -> None:
    """Run a program with secrets in its environment.

    The program replaces this command, so signals and the exit code are its own. With --file or --watch, it is
    a child that gets all signals.
    """
    selection, secrets = selected(single, prefixes, output), Secrets(service)
    program.require(command)
    if as_files:
        # Before the fetch, which can be the last one that is allowed.
        place()
    found: Found = selection.fetch(secrets)
    if not as_files and not watch:
        program.replace(command, program.environment(_values(found), keep_token=keep_token))
    with ExitStack() as running:
        running.enter_context(program.held_signals())
        changes: deque[Found] = deque()
        if watch:
            changes = running.enter_context(
                watching(
                    selection,
                    secrets,
                    found,
                    interval_seconds=interval.total_seconds(),
                    wake=program.wake,
                    report=lambda problem: output.note(f"cannot check for changes: {problem}"),
                )
            )
        code = None
        while code is None:
            with _variables(found, as_files=as_files) as variables:
                child = program.Child(command, program.environment(variables, keep_token=keep_token))
                try:
                    newest = _until_change(child, changes)
                    if newest:
                        output.note("the secrets have changed: restarting the program")
                        found = newest
                finally:
                    child.stop(grace.total_seconds())
            code = child.exit_code if child.is_ending or not newest else None
    ctx.exit(code)


def _until_change(child: program.Child, changes: deque[Found]) -> Found | None:
    """Return the newest values once there are any; None once the program has ended.

    A program that was asked to end is waited for: it does not start again.
    """
    while child.exit_code is None:
        # Before the wait: they may have come during a restart.
        if changes and not child.is_ending:
            return changes.pop()
        child.wait()
    return None


def _values(found: Found) -> dict[str, bytes]:
    return {variable: one.value for variable, one in found.items()}


@contextmanager
def _variables(found: Found, *, as_files: bool) -> Iterator[dict[str, bytes]]:
    """Yield the variables of a program: the values, or the folder that has them while the block runs."""
    if not as_files:
        yield _values(found)
        return
    with memory_folder() as folder:
        for variable, one in found.items():
            private_files.write(folder / variable, one.value)
        yield {_FOLDER: bytes(folder)}
