"""The commands `audit …`: verify, inspect, export, enable and disable the audit trail."""

import json
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any

import click

from vault.audit import checkpoint as checkpoints
from vault.audit import reader, signing_keys, writer
from vault.audit.follow import TrailFollower
from vault.audit.reader import Filter
from vault.audit.retirement import Part
from vault.audit.verifier import (
    Finding,
    Kind,
    ReadOn,
    Verifier,
    nothing_more,
    read_on,
    retention_start,
    verify_records,
)
from vault.cli import parameters
from vault.cli.context import CommandContext, connected
from vault.cli.report import report
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.text import printable, unique_names
from vault.crypto.chain import VerifyingKey
from vault.documents.audit import Record
from vault.keys import guard

#: UTF-8 in every locale, without an error for other bytes: those are no entry.

_MAX_DAYS = 36_500

#: The maximum time between a checkpoint and its export: entries pass their retention meanwhile.
_MAX_EXPORT_DELAY = timedelta(hours=1)

_VERDICTS = {
    Kind.TAMPERING: "NOT what the service wrote",
    Kind.LOOK: "not proven intact, see above",
    Kind.NOTE: "intact",
}

#: By the gravest finding; 2 is an invalid command line.
_EXIT_CODES = {Kind.TAMPERING: 1, Kind.LOOK: 3, Kind.NOTE: 0}

#: The number of entries between two lines of progress.
_PROGRESS_INTERVAL = 10_000

#: Seconds between two looks of `tail`.
_TAIL_INTERVAL_SECONDS = 1


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of entries, with the evidence to verify them."""

    keys: Mapping[str, VerifyingKey]
    records: Iterable[Record]
    #: The retention of entries; 0 if they are permanent.
    days: int
    read_on: ReadOn = nothing_more
    #: The retirements in `audit_keys`, and the signing keys that must be retired.
    retirements: Sequence[Part] = ()
    dropped: Collection[str] = ()


@click.command()
@click.option("--file", type=parameters.TEXT_FILE, help="Verify an export, without database or master key.")
@click.option(
    "--public-key", "keys", type=click.File("rb"), help="With --file: the output of `audit public-key`."
)
@click.option(
    "--checkpoint", type=parameters.TEXT_FILE, help="Verify against the output of `audit checkpoint`."
)
@click.option(
    "--retention-days",
    "days",
    type=click.IntRange(0, _MAX_DAYS),
    help="Retention, if not AUDIT_TTL_DAYS; a file needs --checkpoint.",
)
def verify(
    file: IO[str] | None, keys: IO[bytes] | None, checkpoint: IO[str] | None, days: int | None
) -> None:
    """Verify the trail's hash chains and signatures.

    Exits with 0 if the trail is intact, with 1 if it is not what the service wrote, with 3 if a finding needs
    a look, and with 2 if the command line is invalid.

    Only a checkpoint can show that the end of a stream, or a whole stream, was removed.
    """
    if file is not None and days and checkpoint is None:
        # Counted back from today, it would excuse every gap in an old archive.
        raise click.UsageError("--retention-days with --file needs --checkpoint: it counts back from that.")
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = _Source(_keys(keys.read()), _parsed(file), days or 0)
        elif file is None and keys is None:
            source = _database(stack.enter_context(connected(reading=True)), days)
        else:
            raise click.UsageError("--file and --public-key belong together.")
        held = checkpoints.read(checkpoint.read(), source.keys) if checkpoint else None
        exported = held.time + _MAX_EXPORT_DELAY if held and file else None
        verifier = Verifier(
            source.keys,
            kept_since=lambda: retention_start(source.days, exported or datetime.now(UTC)),
            heads=held.heads if held else None,
            retirements=source.retirements,
            retired=held.retired if held else {},
            dropped=source.dropped,
        )
        worst = _report(verify_records(verifier, _counted(source.records), source.read_on))
    click.echo(f"{verifier.entries} entries in {verifier.streams} streams: {_VERDICTS[worst]}")
    sys.exit(_EXIT_CODES[worst])


def _database(context: CommandContext, days: int | None) -> _Source:
    """Return the trail in the connected database."""
    return _Source(
        signing_keys.trusted(context.keyring),
        reader.export(Filter()),
        context.audit_ttl_days if days is None else days,
        partial(read_on, began=datetime.now(UTC)),
        signing_keys.retirements(context.keyring),
        signing_keys.dropped(context.keyring),
    )


def _keys(bundle: bytes) -> Mapping[str, VerifyingKey]:
    try:
        return {key.signer: key for key in VerifyingKey.from_pem(bundle)}
    except ValueError:
        raise click.UsageError("--public-key does not hold Ed25519 public keys.") from None


def _parsed(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json.loads(line, object_pairs_hook=unique_names)
        except (RecursionError, ValueError):
            record = None
        # A line that is not an object is a finding, as is any entry that the service did not write.
        yield record if isinstance(record, dict) else {"stream": "?"}


def _counted(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records):
        if number % _PROGRESS_INTERVAL == 0 and number:
            click.echo(f"\r{number} entries", nl=False, err=True)
        yield record
    click.echo("\r", nl=False, err=True)


def _report(findings: Iterable[Finding]) -> Kind:
    """Print *findings*; return the gravest kind among them."""
    found = {Kind.NOTE}
    for finding in findings:
        found.add(finding.kind)
        click.echo(printable(str(finding)))
    return next(kind for kind in Kind if kind in found)


def _time(text: str) -> datetime:
    """Return the time in *text*, in UTC unless it has another offset."""
    try:
        moment = datetime.fromisoformat(text)
        # In UTC, the time may be before year 1 or after 9999, which Python does not support.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise click.BadParameter("must be a time such as 2026-11-24 or 2026-11-24T15:30:00+01:00") from None


@click.group()
def audit() -> None:
    """Inspect, export and verify the audit trail."""


audit.add_command(verify)
audit.add_command(report)


@audit.command()
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Number of earlier entries to show first.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for new entries.")
def tail(lines: int, follow: bool) -> None:
    """Show the newest entries, and follow the trail.

    With --follow, new entries are shown until Ctrl-C.
    """
    with suppress(KeyboardInterrupt), connected(reading=True):
        if not follow:
            _show(reader.latest(lines) if lines else [])
            return
        end = TrailFollower(lines)
        fresh = end.look()
        _show(fresh[len(fresh) - min(lines, len(fresh)) :])
        while True:
            time.sleep(_TAIL_INTERVAL_SECONDS)
            _show(end.look())


def _show(records: Iterable[Record]) -> None:
    names = ("ts", "action", "status", "principal", "ip", "secret_id", "request_id")
    for record in records:
        click.echo("  ".join(printable(str(record.get(name) or "-")) for name in names))


@audit.command()
@click.option("--since", metavar="TIME", type=_time, help="Only entries from this time on, e.g. 2026-11-24.")
@click.option("--until", metavar="TIME", type=_time, help="Only entries before this time.")
@click.option("--action", help="Only entries of this action, e.g. fetch.")
@click.option("--principal", help="Only entries of this principal.")
@click.option("--secret", "secret_id", metavar="ID", help="Only entries about the secret with this ID.")
def export(**options: Any) -> None:
    """Print entries as JSON lines.

    Only an export without filters can be verified as a whole. The export is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    selection = Filter(**options)
    attempt = Attempt(action=Action.AUDIT_EXPORT, principal=OPERATOR, secret_id=selection.secret_id)
    attempt.details = {name: value for name, value in selection.details().items() if name != "secret_id"}
    with connected(reading=True, recorded=True):
        reader.record(attempt)
        for record in reader.export(selection):
            # The service writes only JSON types; `verify` reports entries with other types.
            click.echo(json.dumps(record, default=str))


@audit.command("public-key")
def public_key() -> None:
    """Print the public keys that verify the trail, as PEM.

    The current key is first. Needs the master key that signs the trail, or a later one.
    """
    with connected(reading=True) as context:
        # The keys of another installation cannot verify this trail.
        guard.require_signer(context.keyring)
        for key in signing_keys.trusted(context.keyring).values():
            click.echo(key.pem(), nl=False)


@audit.command()
def checkpoint() -> None:
    """Print the heads of all streams, signed.

    Keep the checkpoint out of reach of anyone with write access to MongoDB. Needs the master key that signs
    the trail, or a later one.
    """
    with connected(reading=True) as context:
        # With another key, no head would verify: the checkpoint would be empty, and prove nothing.
        guard.require_signer(context.keyring)
        click.echo(json.dumps(checkpoints.make(context.keyring)))


@audit.command()
def enable() -> None:
    """Enable the audit trail of this database.

    Processes with AUDIT_ENABLED=false stop serving within 5 seconds. Needs the master key in use.
    """
    # The command ignores the setting, which the operator changes next.
    with connected(reading=True, audit_enabled=True) as context:
        writer.enable_trail(context.keyring)
    click.echo("The audit trail is enabled. Start the service with AUDIT_ENABLED=true.")


@audit.command()
def disable() -> None:
    """Disable the audit trail of this database.

    Existing entries stay. Processes with AUDIT_ENABLED=true stop serving within 5 seconds. Needs the master
    key in use.
    """
    with connected(reading=True, audit_enabled=True) as context:
        was_enabled = writer.disable_trail(context.keyring)
    verdict = "is disabled" if was_enabled else "was already disabled"
    click.echo(f"The audit trail {verdict}. Start the service with AUDIT_ENABLED=false.")
