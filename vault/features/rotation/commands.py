"""The commands `rotation …`: create, list, show, run, pause and delete rotation plans."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta

import click

from vault.common.paths import name_flaw
from vault.common.text import visible_flaw
from vault.core.attempt import Action
from vault.features.rotation.plans import NewRotation, Rotations
from vault.features.rotation.sources.source import SourceKind
from vault.features.rotation.value import PASSWORD
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Column, Output, output_options
from vault.toolkit.cli.parameters import Command

_COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("name", "namespace", "state", "kind", "users", "version")},
    "rotated": "done_at",
    "next": "next_at",
    "open": "open_user",
    "error": "error",
}

_MAX_USER_BYTES = 128


def _name(text: str) -> str:
    if flaw := name_flaw(text):
        raise click.BadParameter(f"must be the name of a secret, such as billing/db, which {flaw}")
    return text


def _user(text: str) -> str:
    if flaw := visible_flaw(text, max_bytes=_MAX_USER_BYTES):
        raise click.BadParameter(f"must be the name of a user, which {flaw}")
    return text


_name_argument = click.argument("name", type=_name)
_namespace_option = parameters.namespace_option("The namespace of the secret.  [default: default]")


def _of_plan(command: Command) -> Command:
    """Add the arguments and options of a command about one plan."""
    return _name_argument(_namespace_option(output_options(command)))


@click.group()
def rotation() -> None:
    """Change passwords at their sources, such as a database."""


@rotation.command()
@_name_argument
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in SourceKind]),
    required=True,
    help="The kind of the source.",
)
@click.option(
    "--admin",
    metavar="SECRET",
    type=_name,
    required=True,
    help="The name of the secret with the administrator's URL.",
)
@click.option(
    "--user",
    "users",
    metavar="USER",
    type=_user,
    multiple=True,
    required=True,
    help="A user that takes turns with another one. Give two.",
)
@click.option(
    "--every", metavar="TIME", type=parameters.duration, required=True, help="The period, such as 30d."
)
@click.option(
    "--grace",
    metavar="TIME",
    type=parameters.duration,
    default="24h",
    show_default=True,
    help="The longest time for which a former password stays open.",
)
@click.option(
    "--field",
    type=click.Choice([PASSWORD]),
    help="The value of the secret is this text alone, not a JSON object.",
)
@_namespace_option
@output_options
def create(
    output: Output,
    name: str,
    kind: str,
    admin: str,
    users: tuple[str, ...],
    every: timedelta,
    grace: timedelta,
    field: str | None,
    namespace: str | None,
) -> None:
    """Plan rotations of the password in the secret NAME.

    The secret and both users exist. Its value is a JSON object with username and password.
    """
    new = NewRotation(
        name=name,
        kind=SourceKind(kind),
        admin=admin,
        users=users,
        every_seconds=int(every.total_seconds()),
        grace_seconds=int(grace.total_seconds()),
        password_only=field is not None,
        namespace=namespace,
    )
    with operator_attempt(output, Action.ROTATION_CREATE) as (parts, attempt):
        info = parts.of(Rotations).create(new, attempt=attempt)
    output.result(asdict(info), f"created: {name}\nnext: {info.next_at}")


@rotation.command("list")
@output_options
def list_rotations(output: Output) -> None:
    """List all rotation plans."""
    with operator_attempt(output, Action.ROTATION_LIST) as (parts, attempt):
        infos = parts.of(Rotations).list(attempt=attempt)
    output.table(_COLUMNS, map(asdict, infos))


@rotation.command()
@_of_plan
def show(output: Output, name: str, namespace: str | None) -> None:
    """Show the plan of the secret NAME."""
    with operator_attempt(output, Action.ROTATION_SHOW) as (parts, attempt):
        info = asdict(parts.of(Rotations).show(name, namespace=namespace, attempt=attempt))
    output.result(info, "\n".join(f"{key}: {_shown(value)}" for key, value in info.items() if _shown(value)))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else str(value)


@rotation.command()
@_of_plan
def run(output: Output, name: str, namespace: str | None) -> None:
    """Rotate the password in the secret NAME now.

    Waits until the new password is published. Ends a pause.
    """
    with operator_attempt(output, Action.ROTATION_RUN) as (parts, attempt):
        version = parts.of(Rotations).run(name, namespace=namespace, attempt=attempt)()
    output.result({"name": name, "version": version}, f"published: version {version} of {name}")


@rotation.command()
@_of_plan
def pause(output: Output, name: str, namespace: str | None) -> None:
    """Start no rotation of the secret NAME until it is run."""
    with operator_attempt(output, Action.ROTATION_PAUSE) as (parts, attempt):
        parts.of(Rotations).pause(name, namespace=namespace, attempt=attempt)
    output.result({"name": name, "state": "paused"}, f"paused: {name}")


@rotation.command()
@_of_plan
def delete(output: Output, name: str, namespace: str | None) -> None:
    """Delete the plan of the secret NAME; passwords stay as they are."""
    with operator_attempt(output, Action.ROTATION_DELETE) as (parts, attempt):
        parts.of(Rotations).delete(name, namespace=namespace, attempt=attempt)
    output.result({"name": name, "state": "deleted"}, f"deleted: {name}")
