"""The command `audit verify`: the hash chains and signatures of the trail, or of an export."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO

import click

from vault.audit import checkpoint as checkpoints
from vault.audit import reader, signing_keys
from vault.audit.findings import Finding, Kind, gravest
from vault.audit.reader import Filter
from vault.audit.verifier import ReadOn, Verifier, nothing_more, read_on, retention_start, verify_records
from vault.cli import parameters
from vault.cli.context import CommandContext, connected
from vault.cli.output import Output, output_options
from vault.core.text import printable, quantity, unique_names
from vault.crypto.chain import VerifyingKey
from vault.documents.audit import Record

_MAX_DAYS = 36_500

#: The maximum time between a checkpoint and its export: entries pass their retention meanwhile.
_MAX_EXPORT_DELAY = timedelta(hours=1)

#: By the gravest finding. Nothing is looked up by name here, so 3 has another meaning than elsewhere.
_EXIT_CODES = {Kind.TAMPERING: 1, Kind.LOOK: 3, Kind.NOTE: 0}


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of entries, with the evidence to verify them."""

    keys: Mapping[str, VerifyingKey]
    records: Iterable[Record]
    #: The retention of entries; 0 if they are permanent.
    days: int
    #: Returns a `Verifier` of these entries.
    verifier: Callable[..., Verifier]
    read_on: ReadOn = nothing_more


def _days(text: str) -> int:
    """Return a number of days; `90d` is one, too."""
    number = text.removesuffix("d")
    if not re.fullmatch("[0-9]{1,5}", number) or int(number) > _MAX_DAYS:
        raise click.BadParameter(f"must be a number of days from 0 to {_MAX_DAYS}, such as 90")
    return int(number)


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
    metavar="DAYS",
    type=_days,
    help="Retention, such as 90, if not AUDIT_TTL_DAYS. A file needs --checkpoint.",
)
@output_options
def verify(
    output: Output,
    file: IO[str] | None,
    keys: IO[bytes] | None,
    checkpoint: IO[str] | None,
    days: int | None,
) -> None:
    """Verify the trail's hash chains and signatures.

    Exits with 0 if the trail is intact, with 1 if it is not what the service wrote, and with 3 if a finding
    needs a look.

    Only a checkpoint can show that the end of a stream, or a whole stream, was removed.
    """
    if file is not None and days and checkpoint is None:
        # Counted back from today, it would excuse every gap in an old archive.
        raise click.UsageError("--retention-days with --file needs --checkpoint: it counts back from that.")
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = _file(file, keys.read(), days or 0)
        elif file is None and keys is None:
            source = _database(stack.enter_context(connected(output, reading=True)), days)
        else:
            raise click.UsageError("--file and --public-key belong together.")
        held = checkpoints.read(checkpoint.read(), source.keys) if checkpoint else None
        exported = held.time + _MAX_EXPORT_DELAY if held and file else None
        verifier = source.verifier(
            kept_since=lambda: retention_start(source.days, exported or datetime.now(UTC)),
            heads=held.heads if held else None,
            retired=held.retired if held else {},
        )
        with output.bar("Verifying") as shown:
            records = reader.counted(source.records, shown.advance)
            worst = _report(verify_records(verifier, records, source.read_on), output)
    entries = quantity(verifier.entries, "entry", "entries")
    output.result(
        {
            "entries": verifier.entries,
            "streams": verifier.streams,
            "verdict": worst,
            "intact": worst is Kind.NOTE,
        },
        f"{entries} in {quantity(verifier.streams, 'stream')}: {worst.verdict}",
    )
    sys.exit(_EXIT_CODES[worst])


def _file(file: Iterable[str], bundle: bytes, days: int) -> _Source:
    """Return the exported trail in *file*, signed by the public keys in *bundle*."""
    try:
        keys = {key.signer: key for key in VerifyingKey.from_pem(bundle)}
    except ValueError:
        raise click.UsageError("--public-key does not hold Ed25519 public keys.") from None
    return _Source(keys, _parsed(file), days, partial(Verifier, keys))


def _database(context: CommandContext, days: int | None) -> _Source:
    """Return the trail in the connected database."""
    return _Source(
        signing_keys.trusted(context.keyring),
        reader.export(Filter()),
        context.audit_ttl_days if days is None else days,
        partial(Verifier.of_database, context.keyring),
        partial(read_on, began=datetime.now(UTC)),
    )


def _parsed(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json.loads(line, object_pairs_hook=unique_names)
        except (RecursionError, ValueError):
            record = None
        # A line that is not an object is a finding, as is any entry that the service did not write.
        yield record if isinstance(record, dict) else {"stream": "?"}


def _report(findings: Iterable[Finding], output: Output) -> Kind:
    """Print *findings*; return the gravest kind among them."""
    kinds = set()
    for finding in findings:
        kinds.add(finding.kind)
        output.result(asdict(finding), printable(str(finding)))
    return gravest(kinds)
