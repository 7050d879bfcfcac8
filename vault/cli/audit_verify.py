"""Verify the audit trail, in the database or as an exported file."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO

import click

from vault.cli.operator import connected
from vault.crypto.chain import VerifyingKey
from vault.operations import checkpoint as checkpoints
from vault.operations import signers, trail, verification
from vault.operations.retirement import Part
from vault.operations.stream_state import Record
from vault.operations.trail import Filter
from vault.operations.verify import Finding, Kind, Verifier
from vault.printable import printable

#: Whatever the locale, and without an error for what is no UTF-8: then it is no entry either.
_TEXT = click.File(encoding="utf-8", errors="replace")

_MAX_DAYS = 36_500

#: How long after its checkpoint an export may have been made: entries pass their retention meanwhile.
_EXPORT_TIME = timedelta(hours=1)

_VERDICTS = {
    Kind.TAMPERING: "NOT what the service wrote",
    Kind.LOOK: "not proven intact, see above",
    Kind.NOTE: "intact",
}

#: By the gravest finding; 2 is for a wrong command line.
_EXIT_CODES = {Kind.TAMPERING: 1, Kind.LOOK: 3, Kind.NOTE: 0}

#: Entries between two signs of progress.
_PROGRESS = 10_000


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the entries come from, and what they are held against."""

    keys: Mapping[str, VerifyingKey]
    records: Iterable[Record]
    #: How many days entries are kept; 0 for good.
    days: int
    read_on: verification.ReadOn = verification.nothing_more
    #: The retirements in `audit_keys`, and the signing keys that have to be retired.
    retirements: Sequence[Part] = ()
    dropped: Collection[str] = ()


@click.command()
@click.option("--file", type=_TEXT, help="Verify an export: needs neither database nor master key.")
@click.option("--public-key", "keys", type=click.File("rb"), help="With --file: from `audit public-key`.")
@click.option("--checkpoint", type=_TEXT, help="Hold the trail against one of `audit checkpoint`.")
@click.option(
    "--retention-days",
    "days",
    type=click.IntRange(0, _MAX_DAYS),
    help="Days that entries are kept, if not AUDIT_TTL_DAYS. For a file, counted back from the checkpoint.",
)
def verify(
    file: IO[str] | None, keys: IO[bytes] | None, checkpoint: IO[str] | None, days: int | None
) -> None:
    """Verify the trail's hash chains and signatures.

    Exits with 0 if the trail is intact, with 1 if it is not what the service wrote, with 3 if a finding needs
    a look, and with 2 if the command line is wrong.

    That the end of a stream, or a whole stream, was removed shows only against a checkpoint.
    """
    if file is not None and days and checkpoint is None:
        # Back from today it would excuse whatever an old archive lacks.
        raise click.UsageError("--retention-days with --file needs --checkpoint: it counts back from that.")
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = _Source(_keys(keys.read()), _parsed(file), days or 0)
        elif file is None and keys is None:
            operator = stack.enter_context(connected(reading=True))
            days = operator.audit_ttl_days if days is None else days
            source = _Source(
                signers.trusted(operator.keyring),
                trail.export(Filter()),
                days,
                partial(verification.read_on, began=datetime.now(UTC)),
                signers.retirements(operator.keyring),
                signers.dropped(operator.keyring),
            )
        else:
            raise click.UsageError("--file and --public-key belong together.")
        held = checkpoints.read(checkpoint.read(), source.keys) if checkpoint else None
        taken = held.time + _EXPORT_TIME if held and file else None
        verifier = Verifier(
            source.keys,
            kept_since=lambda: verification.kept_since(source.days, taken or datetime.now(UTC)),
            heads=held.heads if held else None,
            retirements=source.retirements,
            retired=held.retired if held else {},
            dropped=source.dropped,
        )
        worst = _report(verification.verify(verifier, _counted(source.records), source.read_on))
    click.echo(f"{verifier.entries} entries in {verifier.streams} streams: {_VERDICTS[worst]}")
    sys.exit(_EXIT_CODES[worst])


def _keys(bundle: bytes) -> Mapping[str, VerifyingKey]:
    try:
        return {key.signer: key for key in VerifyingKey.from_pem(bundle)}
    except ValueError:
        raise click.UsageError("--public-key does not hold Ed25519 public keys.") from None


def _parsed(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json.loads(line, object_pairs_hook=_without_doubles)
        except (RecursionError, ValueError):
            record = None
        # What is no object at all is a finding like any other entry that the service did not write.
        yield record if isinstance(record, dict) else {"stream": "?"}


def _without_doubles(fields: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(fields)
    if len(found) < len(fields):
        # Which of the two a reader sees depends on the reader.
        raise ValueError("a name is there twice")
    return found


def _counted(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records):
        if number % _PROGRESS == 0 and number:
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
