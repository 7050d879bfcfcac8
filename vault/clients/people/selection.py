"""Options that name the secrets of programs, as variables."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from vault.clients.people.record_selection import Selection
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--env",
        "single",
        metavar="NAME=SECRET",
        multiple=True,
        type=parameters.assignment,
        help="A variable, and the name or ID of its secret. Can be repeated.",
    ),
    click.option(
        "--prefix",
        "prefixes",
        metavar="PREFIX",
        multiple=True,
        type=parameters.prefix,
        help="All secrets whose names begin so: app/db-password is DB_PASSWORD with app/. Can be repeated.",
    ),
)


def selection_options(command: Command) -> Command:
    """Give *command* the options `single` and `prefixes`, which `selected` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def selected(single: Sequence[tuple[str, str]], prefixes: Sequence[str], output: Output) -> Selection:
    """Return the secrets that the options name.

    Raises:
        UsageError: They name none, or a variable twice.
    """
    if not single and not prefixes:
        raise click.UsageError("No secrets are named: use --env or --prefix.")
    if len(dict(single)) < len(single):
        raise click.UsageError("--env names a variable twice.")
    parameters.note_cut_names(prefixes, output)
    return Selection(dict(single), prefixes)
