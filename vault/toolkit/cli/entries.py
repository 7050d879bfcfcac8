"""Entries of the audit trail: the options that select them, and their lines for people."""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeVar

import click

from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.principal import DEFAULT_NAMESPACE
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Lines, Output
from vault.toolkit.client.secrets import is_id

Command = TypeVar("Command", bound=Callable[..., Any])

#: The maximum number of entries of a page; `query` reads as many pages as it needs.
PAGE_LIMIT = 1_000

#: The headings, and the minimum widths of their columns.
_COLUMNS = {"time": 24, "action": 11, "status": 9, "principal": 10, "about": 10, "reason": 0}

#: By the field with the name of what an entry is about, the word before the name.
_SUBJECTS = {"name": "", "token": "token ", "role_name": "role ", "issuer_name": "issuer "}

#: The criteria of entries that an option of the same name has.
_CRITERIA = ("since", "until", "action", "status", "principal", "namespace")


def filters(command: Command) -> Command:
    """Add the options for the criteria of entries to *command*, which gets the given ones as `which`."""

    @parameters.since_option
    @click.option(
        "--until", metavar="TIME", type=parameters.time, help="Only entries before it, e.g. 2026-11-24."
    )
    @click.option(
        "--action",
        metavar="ACTION",
        type=click.Choice([action.value for action in Action]),
        help="Only entries of it, such as fetch.",
    )
    @click.option(
        "--status",
        type=click.Choice([status.value for status in Status]),
        help="Only entries with this outcome.",
    )
    @click.option("--principal", metavar="NAME", help="Only entries of this principal.")
    @click.option(
        "--secret",
        metavar="NAME|ID",
        type=parameters.secret,
        help="Only entries about this secret; a name also stands for earlier secrets with it.",
    )
    @parameters.namespace_option("Only entries about this namespace.  [default with a name: your own]")
    @wraps(command)
    def filtered(*arguments: Any, secret: str | None, **options: Any) -> Any:
        which = {name: options.pop(name) for name in _CRITERIA}
        if which["since"] and which["until"] and which["since"] >= which["until"]:
            raise click.UsageError("--since must be before --until.")
        if secret is not None:
            which["secret_id" if is_id(secret) else "secret_name"] = secret
        which = {name: value for name, value in which.items() if value is not None}
        return command(*arguments, which=which, **options)

    return filtered  # type: ignore[return-value]


#: The options of a query.
limit_option = click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="At most so many."
)
newest_first_option = click.option("--newest-first", is_flag=True, help="Begin with the newest entry.")
follow_option = click.option(
    "--follow/--no-follow", default=True, show_default=True, help="Wait for new entries."
)


def lines_option(count: click.IntRange) -> Callable[[Command], Command]:
    """Return the option for a *count* of earlier entries."""
    return click.option(
        "--lines", type=count, default=10, show_default=True, help="Number of earlier entries to show first."
    )


def lines(output: Output, own: str = DEFAULT_NAMESPACE) -> Lines:
    """Return lines for entries. They name the namespace of each that is not about the caller's *own*."""
    return Lines(output, _COLUMNS, partial(_texts, own=own))


def _texts(record: Mapping[str, Any], own: str) -> list[str]:
    details = record.get("details")
    # An attacker may have stored anything.
    known = details if isinstance(details, dict) else {}
    fields = [record.get(field) for field in ("ts", "action", "status", "principal")]
    subject = _subject(known, str(record.get("secret_id") or ""), own)
    return [*(str(text or "-") for text in (*fields, subject)), str(known.get("reason") or "")]


def _subject(details: Mapping[str, Any], secret_id: str, own: str) -> str:
    """Return the name of the secret, token, role or issuer that *details* are about, or the *secret_id*.

    A namespace other than the caller's *own* is before it.
    """
    kind, name = next(
        ((kind, str(details[field])) for field, kind in _SUBJECTS.items() if details.get(field)),
        ("", secret_id),
    )
    namespace = details.get("namespace", own)
    return kind + (name if namespace == own or not name else f"{namespace}: {name}")
