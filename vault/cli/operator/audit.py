"""The commands `audit …`: inspect, export, sign, enable and disable the audit trail."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import click

from vault.audit import checkpoint as checkpoints
from vault.audit import reader, signing_keys, writer
from vault.audit.follow import TrailFollower
from vault.audit.reader import Filter, Order
from vault.audit.summary import shown_name
from vault.cli.operator.audit_reconcile import reconcile
from vault.cli.operator.audit_verify import verify
from vault.cli.operator.audit_witness import witness
from vault.cli.operator.context import connected
from vault.cli.operator.report import report
from vault.cli.shell import parameters
from vault.cli.shell.exits import SignalledError
from vault.cli.shell.output import Lines, Output, output_options
from vault.cli.shell.parameters import Command
from vault.client.secrets import is_id
from vault.core.attempt import Action, Attempt
from vault.core.outcomes import Status
from vault.core.principal import OPERATOR
from vault.documents.audit import Record
from vault.keys import guard

#: The maximum number of entries of a page; `query` reads as many pages as it needs.
_PAGE_LIMIT = 1_000

#: The headings, and the minimum widths of their columns.
_COLUMNS = {"time": 24, "action": 11, "status": 9, "principal": 10, "about": 10, "reason": 0}

#: By the field with the name of what an entry is about, the word before the name.
_SUBJECTS = {"name": "", "token": "token ", "role_name": "role ", "issuer_name": "issuer "}

#: Seconds between two looks of `tail`.
_TAIL_INTERVAL_SECONDS = 1


def _filters(command: Command) -> Command:
    """Add the options for the criteria of entries to *command*, which gets their `Filter`."""

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
        help="Only entries about this secret; a name is one in any namespace.",
    )
    @wraps(command)
    def filtered(
        *arguments: Any,
        since: datetime | None,
        until: datetime | None,
        action: str | None,
        status: str | None,
        principal: str | None,
        secret: str | None,
        **options: Any,
    ) -> Any:
        if since and until and since >= until:
            raise click.UsageError("--since must be before --until.")
        which = Filter(
            since=since, until=until, action=action, status=status, principal=principal, **_about(secret)
        )
        return command(*arguments, which=which, **options)

    return filtered  # type: ignore[return-value]


def _about(secret: str | None) -> dict[str, str]:
    if secret is None:
        return {}
    return {"secret_id" if is_id(secret) else "secret_name": secret}


@click.group()
def audit() -> None:
    """Inspect, export and verify the audit trail."""


audit.add_command(verify)
audit.add_command(report)
audit.add_command(reconcile)
audit.add_command(witness)


@audit.command()
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Number of earlier entries to show first.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for new entries.")
@output_options
def tail(output: Output, lines: int, follow: bool) -> None:
    """Show the newest entries, and follow the trail.

    The newest entry is last. With --follow, new entries are shown until Ctrl-C. --json has all fields of the
    entries.
    """
    with connected(output, reading=True):
        if not follow:
            _lines(output).show(reader.latest(lines) if lines else [])
            return
        try:
            _follow(lines, output)
        except SignalledError:
            raise
        except KeyboardInterrupt:
            # The usual end of a command that follows.
            return


def _follow(lines: int, output: Output) -> NoReturn:
    end, shown = TrailFollower(lines), _lines(output)
    fresh = reader.by_time(end.poll())
    shown.show(fresh[len(fresh) - min(lines, len(fresh)) :])
    while True:
        time.sleep(_TAIL_INTERVAL_SECONDS)
        shown.show(reader.by_time(end.poll()))


def _lines(output: Output) -> Lines:
    return Lines(output, _COLUMNS, _texts)


def _texts(record: Record) -> list[str]:
    details = record.get("details")
    # An attacker may have stored anything.
    known = details if isinstance(details, dict) else {}
    fields = [record.get(field) for field in ("ts", "action", "status", "principal")]
    found = [*fields, _subject(known) or record.get("secret_id")]
    return [*(str(text or "-") for text in found), str(known.get("reason") or "")]


def _subject(details: Mapping[str, Any]) -> str:
    """Return the name of the secret, token, role or issuer that *details* are about; empty for none."""
    for field, kind in _SUBJECTS.items():
        if name := details.get(field):
            return kind + shown_name("", str(name), details.get("namespace"))
    return ""


@audit.command()
@_filters
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="At most so many."
)
@click.option("--newest-first", is_flag=True, help="Begin with the newest entry.")
@output_options
def query(output: Output, which: Filter, limit: int, newest_first: bool) -> None:
    """Show entries, oldest first.

    --json has all fields of the entries. Without it, each entry is one line.

    The query is recorded: it needs a MongoDB user who may insert into the trail.
    """
    order = Order.NEWEST_FIRST if newest_first else Order.OLDEST_FIRST
    with connected(output, reading=True, recorded=True):
        _record(Action.AUDIT_QUERY, which)
        cursor, left, shown = None, limit, _lines(output)
        while left:
            page = reader.read(which, OPERATOR, cursor=cursor, limit=min(left, _PAGE_LIMIT), order=order)
            shown.show(page.entries)
            cursor, left = page.cursor, left - len(page.entries)
            if cursor is None:
                if left == limit:
                    output.note("0 entries")
                return
    output.note("There are more entries. Hint: use a higher --limit")


@audit.command()
@_filters
@output_options
def export(output: Output, which: Filter) -> None:
    """Print entries as JSON lines.

    Only an export without filters can be verified as a whole. The export is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    with connected(output, reading=True, recorded=True):
        _record(Action.AUDIT_EXPORT, which)
        for record in reader.export(which):
            # The service writes only JSON types; `verify` reports entries with other types.
            click.echo(json.dumps(record, default=str))


def _record(action: Action, which: Filter) -> None:
    """Record an operator's *action*, before it reads anything."""
    attempt = Attempt(action=action, principal=OPERATOR, secret_id=which.secret_id)
    attempt.details = {name: value for name, value in which.details().items() if name != "secret_id"}
    reader.record(attempt)


@audit.command("public-key")
@output_options
def public_key(output: Output) -> None:
    """Print the public keys that verify the trail, as PEM.

    The current key is first. Needs the master key that signs the trail, or a later one.
    """
    with connected(output, reading=True) as parts:
        # The keys of another installation cannot verify this trail.
        guard.require_signer(parts.keyring, signing_keys.trusted)
        for key in signing_keys.trusted(parts.keyring).values():
            output.result({"signer": key.signer, "public_key": key.pem()}, key.pem().removesuffix("\n"))


@audit.command()
@output_options
def checkpoint(output: Output) -> None:
    """Print the heads of all streams, signed.

    Keep the checkpoint out of reach of anyone with write access to MongoDB. Needs the master key that signs
    the trail, or a later one.
    """
    with connected(output, reading=True) as parts:
        # With another key, no head would verify: the checkpoint would be empty, and prove nothing.
        guard.require_signer(parts.keyring, signing_keys.trusted)
        click.echo(json.dumps(checkpoints.make(parts.keyring)))


@audit.command()
@output_options
def enable(output: Output) -> None:
    """Enable the audit trail of this database.

    Processes with AUDIT_ENABLED=false stop serving within 5 seconds. Needs the master key in use.
    """
    # The command ignores the setting, which the operator changes next.
    with connected(output, reading=True, audit_enabled=True) as parts:
        writer.enable_trail(parts.keyring)
    output.result(
        {"audit_enabled": True}, "The audit trail is enabled. Start the service with AUDIT_ENABLED=true."
    )


@audit.command()
@output_options
def disable(output: Output) -> None:
    """Disable the audit trail of this database.

    Existing entries stay. Processes with AUDIT_ENABLED=true stop serving within 5 seconds. Needs the master
    key in use.
    """
    with connected(output, reading=True, audit_enabled=True) as parts:
        was_enabled = writer.disable_trail(parts.keyring)
    verdict = "is disabled" if was_enabled else "was already disabled"
    output.result(
        {"audit_enabled": False},
        f"The audit trail {verdict}. Start the service with AUDIT_ENABLED=false.",
    )
