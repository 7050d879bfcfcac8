"""The command `audit verify`: the hash chains and signatures of the trail, or of an export."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
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
from vault.audit.reader import Filter
from vault.audit.receipts import MAX_LENGTH, Receipts
from vault.audit.streams import checkpoint as checkpoints
from vault.audit.streams import signing_keys
from vault.audit.streams.collection import MAX_ENTRY_BYTES
from vault.audit.verifier import ReadOn, Verifier, nothing_more, read_on, retention_start, verify_records
from vault.cli.operator.context import connected
from vault.cli.shell import parameters
from vault.cli.shell.output import Output, output_options
from vault.core.errors import StorageUnavailableError
from vault.core.text import printable, quantity, unique_names
from vault.core.timestamps import moment
from vault.crypto import Keyring
from vault.crypto.audit_chain import VerifyingKey
from vault.documents.audit import Record
from vault.keys import guard
from vault.parts import Parts

_MAX_DAYS = 36_500

#: The maximum time between a checkpoint and its export: entries pass their retention meanwhile.
_MAX_EXPORT_DELAY = timedelta(hours=1)

#: By the gravest finding. Nothing is looked up by name here, so 3 has another meaning than elsewhere.
_EXIT_CODES = {Kind.TAMPERING: 1, Kind.LOOK: 3, Kind.NOTE: 0}

_RUNBOOK = 'The next steps are in docs/runbook.md, under "Audit verify reports a finding".'

#: The maximum number of findings that are held back, so that what can explain them is printed before them.
_MAX_HELD = 1_000

#: The maximum number of names in a note, and of characters of a name.
_MAX_NAMES, _MAX_NAME_LENGTH = 5, 40

#: The trail cannot prove which is the case: anyone who can write to it can sign with a key of their own.
_OR_REAL = "treat the findings as real"
_OTHER_KEYS = (
    f"run this command again with the master keys in use; if it has them, someone else signed: {_OR_REAL}"
)
_OTHER_FILE = (
    "make that file with `secret-manager audit public-key` and the master keys in use; if it is theirs, "
    f"someone else signed: {_OR_REAL}"
)
_TORN = (
    "line {} of the file has only the beginning of an entry, as a full disk or a killed process leaves it; "
    "MongoDB has the entry"
)
#: The maximum length of a literal or an escape of JSON, which can be at the end of a line that ends early.
_MAX_TOKEN_LENGTH = 6

_FILTERED = (
    "Entries are missing. Hint: an export with filters cannot be verified, so export without them; if this "
    f"one has none, {_OR_REAL}"
)


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of entries, with the evidence to verify them."""

    keys: Mapping[str, VerifyingKey]
    #: The place of these keys, for people, and what to do if some are missing there.
    place: str
    remedy: str
    records: Iterable[Record]
    #: The retention of entries; 0 if they are permanent.
    days: int
    #: Returns a `Verifier` of these entries.
    verifier: Callable[..., Verifier]
    read_on: ReadOn = nothing_more
    #: The IDs of master keys in use that are missing here.
    missing: Sequence[str] = ()
    #: The entries may be an export with filters.
    is_file: bool = True
    #: The numbers of the lines of a file that have only a part of an entry.
    torn: Sequence[int] = ()


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

    Only a checkpoint, a certificate or a receipt can show that the end of a stream, or a whole stream, was
    removed. Witnessed checkpoints also show what the holders of the master key changed.
    """
    witnessed = _witnessed(witnesses, tsa_ca, witness_key)
    with ExitStack() as stack:
        if file is not None and keys is not None:
            source = _file(file, keys.read(), days or 0)
        elif file is None and keys is None:
            source = _database(stack.enter_context(connected(output, reading=True)), days)
        else:
            raise click.UsageError("--file and --public-key belong together.")
        evidence = Evidence(source.keys)
        kept = [checkpoints.read(checkpoint.read(), source.keys)] if checkpoint else []
        certificate = certificates.read(certificate_file.read(), source.keys) if certificate_file else None
        contradictions = [
            *chain.from_iterable(map(evidence.add, kept)),
            *witnessed(evidence),
            *(evidence.add_certified(certificate.heads, certificate.signer) if certificate else ()),
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
        report = _Report(source, output)
        try:
            for finding in _read(receipt_file, receipts):
                report.add(finding)
            with output.bar("Verifying") as shown:
                records = reader.counted(source.records, shown.advance)
                for finding in chain(contradictions, verify_records(verifier, records, source.read_on)):
                    report.add(finding)
                for number in source.torn:
                    report.add(Finding(*NO_PLACE, _TORN.format(number), Kind.LOOK))
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
    _name_witnesses(evidence, output)
    if worst is not Kind.NOTE:
        output.note(_RUNBOOK)
    sys.exit(_EXIT_CODES[worst])


def _read(file: IO[str] | None, receipts: Receipts | None) -> Iterator[Finding]:
    """Add the lines of *file* to *receipts*, if there are any; yield the findings about forged ones."""
    if file is None or receipts is None:
        return
    for number, line in enumerate(iter(partial(file.readline, MAX_LENGTH), ""), 1):
        try:
            yield from receipts.add(line.strip(), number) if line.strip() else ()
        except ValueError:
            raise click.BadParameter(f"line {number} is not a receipt", param_hint="--receipts") from None


def _counted(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the *counts* of what receipts and a certificate claim, for people; "" without any."""
    shown = {
        name: ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in one.items())
        for name, one in counts.items()
    }
    return "".join(f", {name}: {text}" for name, text in shown.items())


def _file(file: Iterable[str], bundle: bytes, days: int) -> _Source:
    keys = _keys(bundle, "--public-key")
    torn: list[int] = []
    records = _parsed(file, torn)
    return _Source(keys, "--public-key", _OTHER_FILE, records, days, partial(Verifier, keys), torn=torn)


def _keys(bundle: bytes, option: str) -> dict[str, VerifyingKey]:
    try:
        return {key.signer: key for key in VerifyingKey.from_pem(bundle)}
    except ValueError:
        raise click.UsageError(f"{option} does not hold Ed25519 public keys.") from None


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
    keys = _keys(witness_key.read(), "--witness-key") if witness_key else None
    return lambda evidence: evidence.read_witnessed(file, authorities=authorities, witness_keys=keys)


def _question(certificate: Certificate | None, output: Output) -> dict[str, Any]:
    """Return the question of *certificate* for the result, and note it: FILE could have another one."""
    if certificate is None:
        return {}
    output.note(f"The certificate answers: {printable(json.dumps(certificate.question))}")
    return {"question": certificate.question}


def _name_witnesses(evidence: Evidence, output: Output) -> None:
    for name, time in evidence.last_confirmed.items():
        output.note(f"{printable(name)} has confirmed a checkpoint at {moment(time)}")
    if evidence.trusts_answers:
        output.note("Nothing proves who counter-signed the checkpoints. Hint: add --witness-key")


def _database(parts: Parts, days: int | None) -> _Source:
    days = parts.settings.audit_ttl_days if days is None else days
    return _Source(
        signing_keys.trusted(parts.keyring),
        "MASTER_KEY and MASTER_KEY_FALLBACKS, nor trusted by these",
        _OTHER_KEYS,
        reader.export(Filter()),
        days,
        partial(Verifier.of_database, parts.keyring, retention_days=days),
        partial(read_on, began=datetime.now(UTC)),
        _missing(parts.keyring),
        is_file=False,
    )


def _missing(keyring: Keyring) -> list[str]:
    """Return the IDs of the master keys in use that *keyring* lacks, if the user may read what needs them."""
    with suppress(StorageUnavailableError):
        return sorted(guard.compare(keyring, signing_keys.trusted, audit_enabled=None).missing)
    return []


def _parsed(lines: Iterable[str], torn: list[int]) -> Iterator[Record]:
    """Yield the entries of *lines*; add the numbers of lines with only the beginning of one to *torn*."""
    for number, line in enumerate(lines, 1):
        try:
            # A planted line can be of any length, and take 30 times as much memory.
            record = (
                json.loads(line, object_pairs_hook=unique_names) if len(line) <= MAX_ENTRY_BYTES else None
            )
        except json.JSONDecodeError as error:
            if _ends_early(line, error):
                torn.append(number)
                continue
            record = None
        except (RecursionError, ValueError):
            record = None
        # A line that is not an object is a finding, as is any entry that the service did not write.
        yield record if isinstance(record, dict) else {"stream": "?"}


def _ends_early(line: str, error: json.JSONDecodeError) -> bool:
    """Return whether the *error* is that *line* has the beginning of an entry only.

    No entry is hidden so: a missing one leaves a gap, and one at the end of a stream can be removed as well.
    """
    is_at_end = error.pos >= len(line.rstrip("\n")) - _MAX_TOKEN_LENGTH and error.msg != "Extra data"
    return line.startswith("{") and (is_at_end or error.msg.startswith("Unterminated string"))


@dataclass(slots=True)
class _Report:
    """Prints findings. Up to `_MAX_HELD` of them wait, so that what can explain them comes first.

    An explanation changes no finding, and no exit code.
    """

    source: _Source
    output: Output
    kinds: set[Kind] = field(default_factory=set)
    #: By signer. There is at most one for each signature that a `Verifier` verifies, as in its own memory.
    _unknown: dict[str, list[Finding]] = field(default_factory=dict)
    _held: list[Finding] = field(default_factory=list)
    #: Tampering, apart from unknown signers: with and without missing entries as its cause.
    _gaps: int = 0
    _changes: int = 0

    def add(self, finding: Finding) -> None:
        """Take the next finding."""
        self.kinds.add(finding.kind)
        if finding.unknown_signer:
            self._unknown.setdefault(finding.unknown_signer, []).append(finding)
            return
        self._gaps += finding.tampering and finding.is_gap
        self._changes += finding.tampering and not finding.is_gap
        self._held.append(finding)
        if len(self._held) >= _MAX_HELD:
            self._print(self._held)
            self._held.clear()

    def finish(self) -> None:
        """Print the findings that are left, and before them what can explain them."""
        source = self.source
        if self._unknown:
            missing = f" Master keys in use that are missing here: {_some(source.missing)}."
            self.output.note(
                f"These signers are not among the keys of {source.place}: {_some(list(self._unknown))}."
                f"{missing if source.missing else ''} Hint: {source.remedy}"
            )
        if source.is_file and self._gaps and not self._changes:
            self.output.note(_FILTERED)
        for signer, findings in self._unknown.items():
            if len(findings) > 1 and not self.output.as_json:
                first = findings[0]
                self.output.text(
                    f"{first.kind}: {len(findings)} entries are signed by a key that is not known, "
                    f"{_some([signer])}: stream {printable(first.stream)} seq {first.seq}, and others that "
                    "--json names"
                )
            else:
                self._print(findings)
        self._print(self._held)

    def _print(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.output.result(asdict(finding), printable(str(finding)))


def _some(names: Sequence[str]) -> str:
    """Return the first of *names*, each of which can be any text, and the number of the others."""
    shown = [printable(name[:_MAX_NAME_LENGTH]) for name in names[:_MAX_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
