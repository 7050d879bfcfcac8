"""One verification of a trail that may grow meanwhile."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from vault.documents.audit_entry import moment
from vault.documents.database import storage_errors
from vault.operations.entries import collection, stored_record
from vault.operations.stream_state import Record
from vault.operations.verify import Finding, Verifier

#: How far MongoDB's clock, by which it prunes, may be ahead of ours.
_CLOCKS = timedelta(minutes=1)

#: Streams, and the number of the newest entry that was read of each.
Ends = Sequence[tuple[str, int]]

#: Seconds after which a commit that was read half must have been written whole.
_SETTLED = 4


def verify(
    verifier: Verifier, records: Iterable[Record], read_on: Callable[[Ends], Iterable[Record]]
) -> Iterator[Finding]:
    """Yield what *verifier* finds in *records*.

    *read_on* returns what has come to streams after their ends: the service may write while it is read.
    """
    for record in records:
        yield from verifier.add(record)
    for record in read_on(verifier.unsigned()):
        yield from verifier.add(record)
    yield from verifier.finish()


def read_on(ends: Ends) -> Iterator[Record]:
    """Yield what is stored after *ends*, up to the next signature: the rest of commits that were read half.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    if ends:
        time.sleep(_SETTLED)
    for stream, seq in ends:
        with storage_errors():
            for document in collection().find({"stream": stream, "seq": {"$gt": seq}}).sort("seq", 1):
                yield stored_record(document)
                if "signature" in document:
                    break


def kept_since(days: int, now: datetime) -> str:
    """Return the time, as in records, from which entries must be there; empty if all must."""
    return moment(now - timedelta(days=days) + _CLOCKS) if days else ""
