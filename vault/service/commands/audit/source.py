"""The sources of entries that `audit verify` reads: the database, or the file of an export."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from vault.common.errors import StorageUnavailableError
from vault.common.text import unique_names
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.documents.audit import Record
from vault.core.keys import guard
from vault.core.parts import Parts
from vault.core.trail import reader
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.reader import Filter
from vault.core.trail.streams import signing_keys
from vault.core.trail.streams.collection import MAX_ENTRY_BYTES
from vault.core.trail.streams.state import UNCOVERED
from vault.core.trail.verifier import ReadOn, Verifier, nothing_more, read_on
from vault.service.commands.audit.files import keys_in

#: The trail cannot prove which is the case: anyone who can write to it can sign with a key of their own.
OR_REAL = "treat the findings as real"
_OTHER_KEYS = (
    f"run this command again with the master keys in use; if it has them, someone else signed: {OR_REAL}"
)
_OTHER_FILE = (
    "make that file with `secret-manager audit public-key` and the master keys in use; if it is theirs, "
    f"someone else signed: {OR_REAL}"
)
TORN = (
    "line {} of the file has only the beginning of an entry, as a full disk or a killed process leaves it; "
    "MongoDB has the entry"
)
_TORN_END = "line {}, after it, is torn, and can have had the signature"
#: The stream and the number of an entry of a file, as texts, and the maximum length of each.
_Place = tuple[str, str]
_MAX_PLACE_LENGTH = 64
#: The maximum length of a literal or an escape of JSON, which can be at the end of a line that ends early.
_MAX_TOKEN_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Source:
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
    #: The numbers of the lines of a file that have only a part of an entry, each with the place before it.
    torn: Mapping[int, _Place] = field(default_factory=dict)

    def explained(self, finding: Finding) -> Finding:
        """Return *finding*; as one that needs a look if a torn line can be the reason.

        The lines of a commit are written together, and only its last entry is signed.
        """
        if finding.text == UNCOVERED:
            for number, before in self.torn.items():
                if _place(finding.stream, finding.seq) == before:
                    return replace(
                        finding, text=f"{UNCOVERED}: {_TORN_END.format(number)}", kind=Gravity.LOOK
                    )
        return finding


def of_file(file: Iterable[str], bundle: bytes, days: int) -> Source:
    """Return the source that is the export *file*, with the public keys in *bundle*."""
    keys = keys_in(bundle, "--public-key")
    torn: dict[int, _Place] = {}
    records = _parsed(file, torn)
    return Source(keys, "--public-key", _OTHER_FILE, records, days, partial(Verifier, keys), torn=torn)


def of_database(parts: Parts, days: int | None) -> Source:
    """Return the source that is the database, with a retention of AUDIT_TTL_DAYS or *days*."""
    days = parts.settings.audit_ttl_days if days is None else days
    return Source(
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


def _parsed(lines: Iterable[str], torn: dict[int, _Place]) -> Iterator[Record]:
    """Yield the entries of *lines*; add the numbers of lines with only the beginning of one to *torn*."""
    before = _place("", -1)
    for number, line in enumerate(lines, 1):
        try:
            # A planted line can be of any length, and take 30 times as much memory.
            record = (
                json.loads(line, object_pairs_hook=unique_names) if len(line) <= MAX_ENTRY_BYTES else None
            )
        except json.JSONDecodeError as error:
            if _ends_early(line, error):
                torn[number] = before
                continue
            record = None
        except (RecursionError, ValueError):
            record = None
        # A line that is not an object is a finding, as is any entry that the service did not write.
        entry = record if isinstance(record, dict) else {"stream": "?"}
        before = _place(entry.get("stream"), entry.get("seq"))
        yield entry


def _place(stream: object, seq: object) -> _Place:
    """Return the place of an entry, in little memory whatever someone planted there."""
    return str(stream)[:_MAX_PLACE_LENGTH], str(seq)[:_MAX_PLACE_LENGTH]


def _ends_early(line: str, error: json.JSONDecodeError) -> bool:
    """Return whether the *error* is that *line* has the beginning of an entry only.

    No entry is hidden so: a missing one leaves a gap, and one at the end of a stream can be removed as well.
    """
    is_at_end = error.pos >= len(line.rstrip("\n")) - _MAX_TOKEN_LENGTH and error.msg != "Extra data"
    return line.startswith("{") and (is_at_end or error.msg.startswith("Unterminated string"))
