"""The command `audit verify`: the hash chains and signatures of the trail, or of an export."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import IO, Any

import click
from cryptography.x509 import load_pem_x509_certificates

from vault.audit import reader
from vault.audit.evidence import Evidence
from vault.audit.exposures import certificate as certificates
from vault.audit.exposures.certificate import Certificate
from vault.audit.findings import NO_PLACE, Finding, Kind, gravest
from vault.audit.receipts import MAX_LENGTH, Receipts
from vault.audit.streams import checkpoint as checkpoints
from vault.audit.verifier import retention_start, verify_records
from vault.cli.operator.audit.findings import FindingsReport
from vault.cli.operator.audit.source import TORN, keys_in, of_database, of_file
from vault.cli.operator.context import connected
from vault.cli.shell import parameters
from vault.cli.shell.output import Output, output_options
from vault.core.text import printable, quantity
from vault.core.timestamps import moment

_MAX_DAYS = 36_500

#: The maximum time between a checkpoint and its export: entries pass their retention meanwhile.
_MAX_EXPORT_DELAY = timedelta(hours=1)

#: By the gravest finding. Nothing is looked up by name here, so 3 has another meaning than elsewhere.
_EXIT_CODES = {Kind.TAMPERING: 1, Kind.LOOK: 3, Kind.NOTE: 0}

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
@click.option("--witnesses", type=parameters.TEXT_FILE, help="Verify against the output of `audit witness`.")
@click.option(
    "--tsa-ca",
    type=click.File("rb"),
    help="With --witnesses: the CA of the time stamps' authority, as PEM.",
)
@click.option(
    "--witness-key",
    type=click.File("rb"),
    help="With --witnesses: `audit public-key` of the other installation.",
)
@click.option(
    "--receipts",
    "receipt_file",
    type=parameters.TEXT_FILE,
    help="Look for the entries of receipts, one a line.",
)
@click.option(
    "--certificate",
    "certificate_file",
    type=parameters.TEXT_FILE,
    help="Compare with the output of `exposure --certificate`.",
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
    heads: IO[str] | None,
    witnesses: IO[str] | None,
    tsa_ca: IO[bytes] | None,
    witness_key: IO[bytes] | None,
    receipt_file: IO[str] | None,
    certificate_file: IO[str] | None,
    days: int | None,
) -> None:
    """Verify the trail's hash chains and signatures.

    Exits with 0 if the trail is intact, with 1 if it is not what the service wrote, and with 3 if a finding
    needs a look.

    Only a checkpoint, a certificate, a receipt or a head can show that the end of a stream, or a whole
    stream, was removed. Witnessed checkpoints also show what the holders of the master key changed.
    """
    witnessed = _witnessed(witnesses, tsa_ca, witness_key)
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = of_file(file, keys.read(), days or 0)
        elif file is None and keys is None:
            source = of_database(stack.enter_context(connected(output, reading=True)), days)
        else:
            raise click.UsageError("--file and --public-key belong together.")
        evidence = Evidence(source.keys)
        kept = [checkpoints.read(checkpoint.read(), source.keys)] if checkpoint else []
        certificate = certificates.read(certificate_file.read(), source.keys) if certificate_file else None
        contradictions = [
            *chain.from_iterable(map(evidence.add, kept)),
            *witnessed(evidence),
            *(evidence.add_certified(certificate.heads, certificate.signer) if certificate else ()),
            *_logged(heads, evidence),
        ]
        held = evidence.newest
        if file is not None and days and held is None:
            # Counted back from today, it would excuse every gap in an old archive.
            raise click.UsageError(
                "--retention-days with --file needs --checkpoint: it counts back from that."
            )
        exported = held.time + _MAX_EXPORT_DELAY if held and file else None
        receipts = Receipts(source.keys) if receipt_file else None
        claims: dict[str, Receipts | Certificate | None]
        claims = {"receipts": receipts, "certificate": certificate}
        verifier = source.verifier(
            kept_since=lambda: retention_start(source.days, exported or datetime.now(UTC)),
            heads=evidence.heads,
            hashes=evidence.hashes,
            retired=held.retired if held else {},
            claims=[one for one in claims.values() if one],
        )
        report = FindingsReport(source, output)
        try:
            for finding in _read(receipt_file, receipts):
                report.add(finding)
            with output.bar("Verifying") as shown:
                records = reader.counted(source.records, shown.advance)
                for finding in chain(contradictions, verify_records(verifier, records, source.read_on)):
                    report.add(source.explained(finding))
                for number in source.torn:
                    report.add(Finding(*NO_PLACE, TORN.format(number), Kind.LOOK))
        finally:
            # Also if the rest of the trail cannot be read.
            report.finish()
    worst = gravest(report.kinds)
    entries = quantity(verifier.entries, "entry", "entries")
    counts = {name: one.counts for name, one in claims.items() if one}
    output.result(
        {
            "entries": verifier.entries,
            "streams": verifier.streams,
            **counts,
            **_question(certificate, output),
            "verdict": worst,
            "intact": worst is Kind.NOTE,
            **({"confirmed_checkpoints": evidence.confirmed} if witnesses else {}),
        },
        f"{entries} in {quantity(verifier.streams, 'stream')}{_counted(counts)}: {worst.verdict}",
    )
    _name_evidence(evidence, output)
    _name_next_steps(worst, output, has_ends=bool(evidence.heads or receipts))
    sys.exit(_EXIT_CODES[worst])


def _read(file: IO[str] | None, receipts: Receipts | None) -> Iterator[Finding]:
    """Add the lines of *file* to *receipts*, if there are any; yield the findings about them."""
    if file is None or receipts is None:
        return
    for number, line in enumerate(_lines(file), 1):
        yield from receipts.add(line.strip(), number) if line.strip() else ()


def _lines(file: IO[str]) -> Iterator[str]:
    """Yield the lines of *file*; of a line that is longer than any receipt, the beginning."""
    is_begin = True
    for part in iter(partial(file.readline, MAX_LENGTH), ""):
        if is_begin:
            yield part
        is_begin = part.endswith("\n")


def _counted(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the *counts* of what receipts and a certificate claim, for people; "" without any."""
    shown = {
        name: ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in one.items())
        for name, one in counts.items()
    }
    return "".join(f", {name}: {text}" for name, text in shown.items())


def _witnessed(
    file: IO[str] | None, tsa_ca: IO[bytes] | None, witness_key: IO[bytes] | None
) -> Callable[[Evidence], Iterable[Finding]]:
    """Return a function that adds the witnessed checkpoints in *file*, if there is one."""
    if file is None:
        if tsa_ca or witness_key:
            raise click.UsageError("--tsa-ca and --witness-key need --witnesses.")
        return lambda _: ()
    try:
        authorities = load_pem_x509_certificates(tsa_ca.read()) if tsa_ca else []
    except ValueError:
        raise click.UsageError("--tsa-ca does not hold certificates in PEM.") from None
    keys = keys_in(witness_key.read(), "--witness-key") if witness_key else None
    return lambda evidence: evidence.read_witnessed(file, authorities=authorities, witness_keys=keys)


def _question(certificate: Certificate | None, output: Output) -> dict[str, Any]:
    """Return the question of *certificate* for the result, and note it: FILE could have another one."""
    if certificate is None:
        return {}
    output.note(f"The certificate answers: {printable(json.dumps(certificate.question))}")
    return {"question": certificate.question}


def _logged(file: IO[str] | None, evidence: Evidence) -> Iterable[Finding]:
    """Add the heads in *file*, if there is one, to *evidence*; return the findings about them."""
    return evidence.read_heads(file) if file else ()


def _name_next_steps(worst: Kind, output: Output, *, has_ends: bool) -> None:
    if worst is not Kind.NOTE:
        output.note(_RUNBOOK)
    elif not has_ends:
        output.note(_NO_ENDS)


def _name_evidence(evidence: Evidence, output: Output) -> None:
    if evidence.logged:
        output.note(f"Compared with the heads of {quantity(evidence.logged, 'stream')}")
    for name, time in evidence.last_confirmed.items():
        output.note(f"{printable(name)} has confirmed a checkpoint at {moment(time)}")
    if evidence.trusts_answers:
        output.note("Nothing proves who counter-signed the checkpoints. Hint: add --witness-key")
