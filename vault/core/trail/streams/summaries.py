"""Summaries: signed lists of streams that are closed, each an entry of the trail.

A row has the stream, the number and the time of its last entry, which closes it, and the link of that entry
(`audit_chain.link`), which covers its content and its seals. Nothing follows that entry. So a head that
covers a summary covers the closed streams, too.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.crypto import Keyring, audit_chain
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.audit import Record
from vault.core.documents.base import is_text, texts
from vault.core.trail.streams.collection import MAJORITY, is_genuine, records
from vault.core.trail.streams.entry import MAX_TEXT_LENGTH
from vault.core.trail.streams.retirement import Head, Heads

#: The subject of summaries, in the field for the ID of a secret: an index of all versions finds them by it.
SUBJECT = "streams"

#: The maximum number of rows in a summary: about 57 kB, as in a part of a retirement.
MAX_ROWS = 400

#: The number of summaries that are read in one round trip, also by a worker while it serves.
_BATCH_SIZE = 10

#: By stream, its summaries, each with its number.
Summaries = Mapping[str, Sequence[tuple[int, Heads]]]


def details_of(closing: Iterable[Record]) -> dict[str, Any]:
    """Return the details of a summary of the streams with these last entries."""
    closing = list(closing)
    signers = {signer for record in closing for signer in _signers(record)}
    rows = [
        [*(record[name] for name in ("stream", "seq", "ts")), audit_chain.link(record)] for record in closing
    ]
    return {"heads": rows, "signers": sorted(signers)}


def _signers(record: Record) -> Iterator[str]:
    yield record["signer"]
    # Closed by another process: the signer of the entry before. A leaked key can sign anything there.
    before = record.get("details", {}).get("signer")
    if is_text(before) and len(before) <= MAX_TEXT_LENGTH:
        yield before


def rows_of(record: Record) -> Heads:
    """Return the rows of a summary; none if *record* is not one. No stream ends after its summary."""
    if record.get("action") != Action.STREAMS_COMPACTED:
        return {}
    try:
        rows = record["details"]["heads"]
        found = {str(name): Head(int(seq), str(ts), str(link)) for name, seq, ts, link in rows}
        return {name: head for name, head in found.items() if head.ts <= record["ts"]}
    except (KeyError, TypeError, ValueError):
        # The service does not write that; a holder of a dropped key can.
        return {}


def closure(heads: Heads, summaries: Summaries) -> Heads:
    """Return *heads*, with the rows of all summaries that they cover, and that these cover, and so on."""
    covered, pending = dict(heads), [*heads.items()]
    while pending:
        name, head = pending.pop()
        for seq, rows in summaries.get(name, ()):
            if seq <= head.seq:
                more = {
                    one: row for one, row in rows.items() if one not in covered or covered[one].seq < row.seq
                }
                covered |= more
                pending += more.items()
    return covered


class Listed:
    """The closed streams in the database, by the summaries that the primary key signed.

    Only that key is certainly neither dropped nor retired. Under a new one, the streams are listed again.
    """

    def __init__(self, keyring: Keyring, since: datetime | None = None) -> None:
        """Read the summaries, or those *since* a time."""
        key = SigningKey(keyring.primary).public
        earliest = moment(since) if since else ""
        self.rows: dict[str, Head] = {}
        #: The keys that signed the ends of these streams.
        self.signers: set[str] = set()
        query = {"secret_id": SUBJECT, "action": Action.STREAMS_COMPACTED.value}
        for record in records(query, batch_size=_BATCH_SIZE, read_concern=MAJORITY):
            if is_genuine(record, {key.signer: key}) and record["ts"] >= earliest:
                self.rows |= rows_of(record)
                self.signers.update(texts(record.get("details", {}).get("signers")))

    def heads(self) -> list[Record]:
        """Return the rows in the form of heads."""
        return [{"stream": name, **row.row()} for name, row in self.rows.items()]
