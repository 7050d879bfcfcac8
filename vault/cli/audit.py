"""Look at the audit trail, export it, and let it be verified."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from vault.cli.audit_verify import verify
from vault.cli.operator import connected
from vault.operations import agreement, audit_state, signers, trail
from vault.operations import checkpoint as checkpoints
from vault.operations.attempt import Action, Attempt
from vault.operations.principal import OPERATOR
from vault.operations.stream_state import Record
from vault.operations.tail import Tail
from vault.operations.trail import Filter
from vault.printable import printable

_TAIL_SECONDS = 1


def _moment(text: str) -> datetime:
    """Return the time that somebody wrote; in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
        # Hours before the year 1, or after 9999, Python has no time in UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise click.BadParameter("not a time such as 2026-11-24 or 2026-11-24T15:30:00+01:00") from None


@click.group()
def audit() -> None:
    """Look at the audit trail, export it and verify it."""


audit.add_command(verify)


@audit.command()
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many earlier entries to show first.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with new entries.")
def tail(lines: int, follow: bool) -> None:
    """Show the newest entries, and new ones as they come, until Ctrl-C."""
    with suppress(KeyboardInterrupt), connected(reading=True):
        if not follow:
            _show(trail.latest(lines) if lines else [])
            return
        end = Tail(lines)
        fresh = end.look()
        _show(fresh[len(fresh) - min(lines, len(fresh)) :])
        while True:
            time.sleep(_TAIL_SECONDS)
            _show(end.look())


def _show(records: Iterable[Record]) -> None:
    names = ("ts", "action", "status", "principal", "ip", "secret_id", "request_id")
    for record in records:
        click.echo("  ".join(printable(str(record.get(name) or "-")) for name in names))


@audit.command()
@click.option("--since", metavar="TIME", type=_moment, help="Entries from this time on.")
@click.option("--until", metavar="TIME", type=_moment, help="Entries before this time.")
@click.option("--action", help="Entries of this action only.")
@click.option("--principal", help="Entries of this principal only.")
@click.option("--secret", "secret_id", help="Entries about the secret with this id only.")
def export(**options: Any) -> None:
    """Print entries as JSON lines. Only an export without filters can be verified as a whole.

    An export is on record, too: it needs a MongoDB user who may insert into the trail.
    """
    which = Filter(**options)
    attempt = Attempt(action=Action.AUDIT_EXPORT, principal=OPERATOR, secret_id=which.secret_id)
    attempt.details = {name: value for name, value in which.details().items() if name != "secret_id"}
    with connected(reading=True, recorded=True):
        trail.record(attempt)
        for record in trail.export(which):
            # What is no JSON is not of our making, and `verify` will say so.
            click.echo(json.dumps(record, default=str))


@audit.command("public-key")
def public_key() -> None:
    """Print the keys that verify the trail, as PEM, the current one first. They are no secret.

    Needs the master key that signs the trail, or one that has followed it.
    """
    with connected(reading=True) as operator:
        # The keys of another installation would verify nothing of this trail.
        agreement.require_signer(operator.keyring)
        for key in signers.trusted(operator.keyring).values():
            click.echo(key.pem(), nl=False)


@audit.command()
def checkpoint() -> None:
    """Print the heads of all streams, signed. Keep it where nobody can write who can write to MongoDB.

    Needs the master key that signs the trail, or one that has followed it.
    """
    with connected(reading=True) as operator:
        # With another key no head is genuine: the checkpoint would be empty, and prove nothing.
        agreement.require_signer(operator.keyring)
        click.echo(json.dumps(checkpoints.make(operator.keyring)))


@audit.command()
def enable() -> None:
    """Enable the audit trail of this database.

    Processes with AUDIT_ENABLED=false stop serving within 5 seconds. Needs the master key in use.
    """
    # The setting does not matter here: it is what the service gets next.
    with connected(reading=True, audit_enabled=True) as operator:
        audit_state.enable(operator.keyring)
    click.echo("The audit trail is enabled. Start the service with AUDIT_ENABLED=true.")


@audit.command()
def disable() -> None:
    """Disable the audit trail of this database; entries stay.

    Processes with AUDIT_ENABLED=true stop serving within 5 seconds. Needs the master key in use.
    """
    with connected(reading=True, audit_enabled=True) as operator:
        was_enabled = audit_state.disable(operator.keyring)
    verdict = "is disabled" if was_enabled else "was disabled already"
    click.echo(f"The audit trail {verdict}. Start the service with AUDIT_ENABLED=false.")
