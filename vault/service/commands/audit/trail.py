"""The commands `audit …` for the trail itself: inspect, export, sign, enable and disable it."""

import json
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from vault.core.attempt import Action, Attempt
from vault.core.keys import guard
from vault.core.principal import DEFAULT_NAMESPACE, OPERATOR
from vault.core.trail import reader, writer
from vault.core.trail.follow import TrailFollower
from vault.core.trail.reader import Filter, Order
from vault.core.trail.streams import checkpoint as checkpoints
from vault.core.trail.streams import signing_keys
from vault.service.commands.context import connected
from vault.toolkit.cli import entries
from vault.toolkit.cli.exits import until_ctrl_c
from vault.toolkit.cli.output import Output, output_options

#: Seconds between two looks of `tail`.
_TAIL_INTERVAL_SECONDS = 1


@click.command
@entries.lines_option(click.IntRange(0))
@entries.follow_option
@output_options
def tail(output: Output, lines: int, follow: bool) -> None:
    """Show the newest entries, and follow the trail.

    The newest entry is last. With --follow, new entries are shown until Ctrl-C. --json has all fields of the
    entries.
    """
    with connected(output, reading=True):
        if not follow:
            entries.lines(output).show(reader.latest(lines) if lines else [])
            return
        with until_ctrl_c():
            _follow(lines, output)


def _follow(lines: int, output: Output) -> NoReturn:
    end, shown = TrailFollower(lines), entries.lines(output)
    fresh = reader.by_time(end.poll())
    shown.show(fresh[len(fresh) - min(lines, len(fresh)) :])
    while True:
        time.sleep(_TAIL_INTERVAL_SECONDS)
        shown.show(reader.by_time(end.poll()))


@click.command
@entries.filters
@entries.limit_option
@entries.newest_first_option
@output_options
def query(output: Output, which: Mapping[str, Any], limit: int, newest_first: bool) -> None:
    """Show entries, oldest first.

    --json has all fields of the entries. Without it, each entry is one line.

    The query is recorded: it needs a MongoDB user who may insert into the trail.
    """
    order, only = Order.NEWEST_FIRST if newest_first else Order.OLDEST_FIRST, _filter(which)
    with connected(output, reading=True, recorded=True):
        _record(Action.AUDIT_QUERY, only)
        cursor, left, shown = None, limit, entries.lines(output)
        while left:
            page = reader.read(
                only, OPERATOR, cursor=cursor, limit=min(left, entries.PAGE_LIMIT), order=order
            )
            shown.show(page.entries)
            cursor, left = page.cursor, left - len(page.entries)
            if cursor is None:
                if left == limit:
                    output.note("0 entries")
                return
    output.note("There are more entries. Hint: use a higher --limit")


@click.command()
@entries.filters
@output_options
def export(output: Output, which: Mapping[str, Any]) -> None:
    """Print entries as JSON lines.

    Only an export without filters can be verified as a whole. The export is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    with connected(output, reading=True, recorded=True):
        only = _filter(which)
        _record(Action.AUDIT_EXPORT, only)
        for record in reader.export(only):
            # The service writes only JSON types; `verify` reports entries with other types.
            click.echo(json.dumps(record, default=str))


def _filter(which: Mapping[str, Any]) -> Filter:
    """Return the filter of the options: a name is one in the default namespace unless they name another."""
    default = {"namespace": DEFAULT_NAMESPACE} if "secret_name" in which else {}
    return Filter(**{**default, **which})


def _record(action: Action, which: Filter) -> None:
    """Record an operator's *action*, before it reads anything."""
    attempt = Attempt(action=action, principal=OPERATOR, secret_id=which.secret_id)
    attempt.details = {name: value for name, value in which.details().items() if name != "secret_id"}
    reader.record(attempt)


@click.command("public-key")
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


@click.command()
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


@click.command()
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


@click.command()
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
