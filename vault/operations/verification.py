"""One verification of a trail that may grow meanwhile."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from vault.documents.audit_entry import moment
from vault.operations.entries import earliest_id, records
from vault.operations.stream_state import End, Record
from vault.operations.verify import Finding, Verifier

#: How far MongoDB's clock, by which it prunes, may be ahead of ours.
_CLOCKS = timedelta(minutes=1)

#: Yields what has come to a trail after these ends.
ReadOn = Callable[[Sequence[End]], Iterable[Record]]

#: Seconds after which a commit that was read half must have been written whole.
_SETTLED_SECONDS = 4

#: How often to read on, as what comes can name further streams. A trail that never settles is not waited for.
_ROUNDS = 5


def nothing_more(_ends: Sequence[End]) -> Iterable[Record]:
    """Stand in where a trail does not grow."""
    return ()


def verify(
    verifier: Verifier, records: Iterable[Record], read_on: ReadOn = nothing_more
) -> Iterator[Finding]:
    """Yield what *verifier* finds in *records*, and in what *read_on* brings where those end too early."""
    for record in records:
        yield from verifier.add(record)
    known: list[End] = []
    for _ in range(_ROUNDS):
        ends = verifier.ends()
        if not ends or ends == known:
            break
        known = ends
        for record in read_on(ends):
            if not verifier.has_seen(record):
                yield from verifier.add(record)
    yield from verifier.finish()


def read_on(ends: Sequence[End], *, began: datetime) -> Iterator[Record]:
    """Yield what is stored after *ends*: as far as it is known to be, and to the end of that commit.

    For a stream without a signature at its end, also the first commit of streams that replace it. Those
    that were there when verification *began* have been read already.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    time.sleep(_SETTLED_SECONDS)
    unsigned = [end.stream for end in ends if end.known < 0]
    replacing = {"_id": {"$gte": earliest_id(began)}, "seq": 0, "replaces.stream": {"$in": unsigned}}
    successors = [End(str(record["stream"]), -1) for record in records(replacing, ("_id", 1))]
    for end in (*ends, *successors):
        for record in records({"stream": end.stream, "seq": {"$gt": end.seq}}, ("seq", 1)):
            yield record
            seq = record["seq"]
            if "signature" in record and isinstance(seq, int) and seq >= end.known:
                break


def kept_since(days: int, now: datetime) -> str:
    """Return the time, as in records, from which entries must be there; empty if all must."""
    return moment(now - timedelta(days=days) + _CLOCKS) if days else ""
