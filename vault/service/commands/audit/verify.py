"""The command `audit verify`: the hash chains and signatures of the trail, or of an export."""

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import IO, Any

import click

from vault.common.text import quantity
from vault.core.trail import reader
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import NO_PLACE, Finding, Gravity, gravest
from vault.core.trail.streams import checkpoint as checkpoints
from vault.core.trail.verifier import retention_start, verify_records
from vault.service.commands.audit.files import file_options, files_of
from vault.service.commands.audit.findings import FindingsReport
from vault.service.commands.audit.source import TORN, of_database, of_file
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options

_MAX_DAYS = 36_500

#: The maximum time between a checkpoint and its export: entries pass their retention meanwhile.
_MAX_EXPORT_DELAY = timedelta(hours=1)

#: By the gravest finding. Nothing is looked up by name here, so 3 has another meaning than elsewhere.
_EXIT_CODES = {Gravity.TAMPERING: 1, Gravity.LOOK: 3, Gravity.NOTE: 0}

_NO_ENDS = "Only other evidence, such as --checkpoint, shows that the end of a stream was removed: see --help"

_RUNBOOK = 'The next steps are in docs/runbook.md, under "Audit verify reports a finding".'


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
    "--heads", type=parameters.TEXT_FILE, help="Verify against heads in the service's log, or in a sink."
)
@file_options
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
    heads: IO[str] | None,
    days: int | None,
    **others: Any,
) -> None:
    """Verify the trail's hash chains and signatures.

    Exits with 0 if the trail is intact, with 1 if it is not what the service wrote, and with 3 if a finding
    needs a look.

    Only a checkpoint, a certificate, a receipt or a head can show that the end of a stream, or a whole
    stream, was removed. Witnessed checkpoints also show what the holders of the master key changed.
    """
    files = files_of(others)
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = of_file(file, keys.read(), days or 0)
        elif file is None and keys is None:
            source = of_database(stack.enter_context(connected(output, reading=True)), days)
        else:
            raise click.UsageError("--file and --public-key belong together.")
        evidence = Evidence(source.keys)
        kept = [checkpoints.read(checkpoint.read(), source.keys)] if checkpoint else []
        findings = [
            list(chain.from_iterable(map(evidence.add, kept))),
            *(one.read(evidence) for one in files),
            list(_logged(heads, evidence)),
        ]
        held = evidence.newest
        if file is not None and days and held is None:
            # Counted back from today, it would excuse every gap in an old archive.
            raise click.UsageError(
                "--retention-days with --file needs --checkpoint: it counts back from that."
            )
        exported = held.time + _MAX_EXPORT_DELAY if held and file else None
        claims = {one.name: one.claims for one in files if one.claims}
        verifier = source.verifier(
            kept_since=lambda: retention_start(source.days, exported or datetime.now(UTC)),
            heads=evidence.heads,
            hashes=evidence.hashes,
            retired=held.retired if held else {},
            claims=list(claims.values()),
        )
        report = FindingsReport(source, output)
        try:
            with output.bar("Verifying") as shown:
                records = reader.counted(source.records, shown.advance)
                for finding in chain(*findings, verify_records(verifier, records, source.read_on)):
                    report.add(source.explained(finding))
                for number in source.torn:
                    report.add(Finding(*NO_PLACE, TORN.format(number), Gravity.LOOK))
        finally:
            # Also if the rest of the trail cannot be read.
            report.finish()
    worst = gravest(report.kinds)
    entries = quantity(verifier.entries, "entry", "entries")
    counts = {name: one.counts for name, one in claims.items()}
    facts = {name: value for one in files for name, value in one.facts.items()}
    output.result(
        {
            "entries": verifier.entries,
            "streams": verifier.streams,
            **counts,
            **facts,
            "verdict": worst,
            "intact": worst is Gravity.NOTE,
        },
        f"{entries} in {quantity(verifier.streams, 'stream')}{_counted(counts)}: {worst.verdict}",
    )
    if evidence.logged:
        output.note(f"Compared with the heads of {quantity(evidence.logged, 'stream')}")
    for note in chain.from_iterable(one.notes for one in files):
        output.note(note)
    _name_next_steps(worst, output, has_ends=bool(evidence.heads or claims))
    sys.exit(_EXIT_CODES[worst])


def _counted(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the *counts* of what files claim, for people; "" without any."""
    shown = {
        name: ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in one.items())
        for name, one in counts.items()
    }
    return "".join(f", {name}: {text}" for name, text in shown.items())


def _logged(file: IO[str] | None, evidence: Evidence) -> Iterable[Finding]:
    """Add the heads in *file*, if there is one, to *evidence*; return the findings about them."""
    return evidence.read_heads(file) if file else ()


def _name_next_steps(worst: Gravity, output: Output, *, has_ends: bool) -> None:
    if worst is not Gravity.NOTE:
        output.note(_RUNBOOK)
    elif not has_ends:
        output.note(_NO_ENDS)
