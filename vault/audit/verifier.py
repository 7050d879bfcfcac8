"""Holding an audit trail against its chains, signatures and a checkpoint.

Entries come as records (`record_of` of `vault.documents.audit`), those of one stream in the order of
their numbers; streams may come in any order, also interleaved. Memory grows with the number of streams, not
of entries.

Only the last signature of each stream is verified: it covers, through the chain, every entry and every
signature before it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from vault.audit import retirement
from vault.audit.reader import earliest_id, records
from vault.audit.retirement import Heads, Part, Witness
from vault.audit.stream import MAX_ENTRIES_PER_COMMIT
from vault.core.attempt import Action
from vault.core.timestamps import moment
from vault.crypto import chain
from vault.crypto.chain import VerifyingKey
from vault.documents.audit import Record


@dataclass(frozen=True, slots=True)
class End:
    """How far a stream was read, where more of it is to be expected."""

    stream: str
    #: The newest entry that was read; -1 for none.
    seq: int
    #: How far a witness knows it to be stored; -1 where there is none, but no signature either.
    known: int = -1


@dataclass(slots=True)
class StreamState:
    """What is remembered of a stream since its beginning, or since what was pruned of it last."""

    last: Record
    #: The number of the first entry.
    first: int
    #: The newest signed entry, and those that came after it.
    signed: Record | None = None
    unsigned: int = 0
    #: The hashes of the latter, as many as one commit can have.
    unsigned_hashes: list[str] = field(default_factory=list)
    #: The streams that it replaces.
    replaces: dict[str, Witness] = field(default_factory=dict)

    @classmethod
    def at(cls, record: Record) -> "StreamState":
        """Begin with *record*."""
        state = cls(record, record["seq"], replaces=_replaced_by(record))
        state.take(record)
        return state

    def take(self, record: Record) -> None:
        """Go on to *record*."""
        self.last = record
        if "signature" in record:
            self.signed, self.unsigned, self.unsigned_hashes = record, 0, []
            return
        self.unsigned += 1
        if self.unsigned <= MAX_ENTRIES_PER_COMMIT:
            self.unsigned_hashes.append(str(record["hash"]))

    @property
    def covered(self) -> int:
        """The number up to which entries are signed."""
        return self.signed["seq"] if self.signed else self.first - 1


def place(record: Record) -> tuple[str, int]:
    """Return stream and number of *record*, if it has any, and a time.

    Raises:
        KeyError: It has not.
        TypeError: They are not such.
    """
    stream, seq, ts = record["stream"], record["seq"], record["ts"]
    if not isinstance(stream, str) or not isinstance(ts, str) or not isinstance(seq, int) or seq < 0:
        raise TypeError
    return stream, seq


def _replaced_by(record: Record) -> dict[str, Witness]:
    return {
        str(left["stream"]): Witness(
            int(left["seq"]),
            str(left.get("ts", "")),
            "its successor",
            until=record["ts"],
            hashes=frozenset(left["hashes"]) if "hashes" in left else None,
        )
        for left in record.get("replaces", ())
    }


_ALTERED = "was altered: its hash does not fit its content"
_BY_DROPPED = "is signed by a master key that had been dropped before"
_FOREIGN = "is not an entry of this service's making"


class Kind(StrEnum):
    """The weight of a finding, as it is printed."""

    #: The trail is not what the service wrote.
    TAMPERING = "TAMPERING"
    #: The trail itself does not tell whether the service wrote it: a person has to look.
    LOOK = "needs a look"
    #: Expected in a trail that is intact.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about one entry."""

    stream: str
    seq: int
    text: str
    kind: Kind = Kind.TAMPERING

    @property
    def tampering(self) -> bool:
        """True if the trail is not what the service wrote."""
        return self.kind is Kind.TAMPERING

    def __str__(self) -> str:
        return f"{self.kind}: stream {self.stream} seq {self.seq}: {self.text}"


class Verifier:
    """Takes all records and yields findings, on the way and at the end."""

    def __init__(
        self,
        keys: Mapping[str, VerifyingKey],
        *,
        kept_since: Callable[[], str] = lambda: "",
        heads: Mapping[str, Record] | None = None,
        retirements: Sequence[Part] = (),
        retired: Mapping[str, str] = MappingProxyType({}),
        dropped: Collection[str] = (),
    ) -> None:
        """Prepare for a trail that *keys* (by signer) signed; the first of them is the current one.

        What is older than *kept_since* (a time as in records, told anew each time, as pruning goes on
        meanwhile; empty when entries are kept for good) may be missing. *heads* are those of a checkpoint,
        by stream, and *retired* the keys that sign nothing beyond them, each with the checkpoint's time.
        *retirements* are known besides those in the trail. *dropped* are keys that have to be retired.
        """
        self._keys = keys
        self._kept_since = kept_since
        self._retirements = list(retirements)
        self._retired = retired
        self._dropped = dropped
        #: Stream, number and signer of the last signature before each gap, except of the current key.
        self._before_gaps: list[Record] = []
        self._checkpoint = {
            stream: Witness(head["seq"], head["ts"], "the checkpoint", head["hash"])
            for stream, head in (heads or {}).items()
        }
        self._streams: dict[str, StreamState] = {}
        self.entries = 0

    def add(self, record: Record) -> Iterator[Finding]:
        """Take the next record; yield what is wrong with it."""
        self.entries += 1
        try:
            yield from self._add(record)
        except (AttributeError, KeyError, TypeError, ValueError):
            seq = record.get("seq")
            named = seq if isinstance(seq, int) else -1
            yield Finding(str(record.get("stream")), named, _FOREIGN)

    @property
    def streams(self) -> int:
        """How many streams were seen."""
        return len(self._streams)

    def has_seen(self, record: Record) -> bool:
        """Return whether the place of *record* in its stream has been passed."""
        seq = record["seq"]
        return isinstance(seq, int) and seq <= self._reached(str(record["stream"]))

    def ends(self) -> list[End]:
        """Return the ends of streams that would be findings if nothing more came.

        While the service writes, a commit may have been read half, and a stream may have gone on between
        its being read and that of its successor: read on from there, and look for further successors.
        """
        bounds = self._bounds()
        replaced = self._replaced(bounds)
        unsigned = [End(found.stream, found.seq) for found in self._unsigned(replaced) if found.tampering]
        short = self._short(replaced, bounds)
        return unsigned + [End(stream, self._reached(stream), witness.seq) for stream, witness in short]

    def finish(self) -> Iterator[Finding]:
        """Yield what is wrong with the trail as a whole."""
        for stream, state in self._streams.items():
            yield from self._signature(stream, state.signed)
        bounds = self._bounds()
        yield from self._beyond(bounds)
        yield from self._without_retirement(bounds)
        replaced = self._replaced(bounds)
        yield from self._unsigned(replaced)
        for stream, witness in self._short(replaced, bounds):
            where = "at the end" if stream in self._streams else "with its whole stream"
            yield Finding(stream, witness.seq, f"is missing {where}: {witness.name} knows it")

    def _add(self, record: Record) -> Iterator[Finding]:
        stream, seq = place(record)
        altered = record["hash"] != chain.digest(record)
        if altered:
            yield Finding(stream, seq, _ALTERED if isinstance(record["hash"], str) else _FOREIGN)
        elif record.get("action") == Action.SIGNER_RETIRED:
            part = Part.of(record.get("details"), self._keys, (stream, seq))
            self._retirements += [part] if part else []
        state = self._streams.get(stream)
        if state is None:
            if seq > 0:
                yield self._missing(record, 0)
            self._streams[stream] = StreamState.at(record)
        elif seq > state.last["seq"] + 1:
            yield from self._gap(record, state)
            self._streams[stream] = StreamState.at(record)
        else:
            yield from self._next(record, state.last, altered=altered)
            if seq > state.last["seq"]:
                state.take(record)
        witness = self._checkpoint.get(stream)
        if witness and witness.seq == seq and witness.hash != record["hash"]:
            yield Finding(stream, seq, "is not the entry that the checkpoint holds")

    def _next(self, record: Record, last: Record, *, altered: bool) -> Iterator[Finding]:
        stream, seq = record["stream"], record["seq"]
        if seq == last["seq"]:
            yield Finding(stream, seq, "is there twice")
        elif seq < last["seq"]:
            yield Finding(stream, seq, f"comes after entry {last['seq']}")
        elif record["previous"] != chain.link(last):
            yield Finding(stream, seq, "does not follow the entry before it, which was altered or replaced")
        elif not altered and (record["previous_ts"] != last["ts"] or record["ts"] < last["ts"]):
            yield Finding(stream, seq, "does not fit the time of the entry before it")

    def _gap(self, record: Record, state: StreamState) -> Iterator[Finding]:
        """Judge what stands before missing entries by itself: no later signature covers it."""
        missing = self._missing(record, state.last["seq"] + 1)
        yield missing
        yield from self._signature(record["stream"], state.signed)
        if state.signed and state.signed.get("signer") != next(iter(self._keys)):
            self._before_gaps.append({name: state.signed.get(name) for name in ("stream", "seq", "signer")})
        if state.unsigned and not missing.tampering:
            # As above: only while MongoDB is removing these entries.
            text = "stands before entries that are gone, and is covered by no signature"
            yield Finding(record["stream"], state.last["seq"], text, Kind.LOOK)
        if not missing.tampering and state.last["ts"] > record["previous_ts"]:
            # MongoDB prunes the oldest first: what it left before a gap can only be as old.
            yield Finding(record["stream"], state.last["seq"], "is younger than what comes after it")

    def _missing(self, record: Record, first: int) -> Finding:
        stream, seq = record["stream"], record["seq"]
        names = f"entry {first}" if first == seq - 1 else f"entries {first} to {seq - 1}"
        if record["previous_ts"] < self._kept_since():
            return Finding(stream, seq, f"{names} before it: gone, past the retention", Kind.NOTE)
        return Finding(stream, seq, f"{names} before it: missing, within the retention")

    def _signature(self, stream: str, signed: Record | None) -> Iterator[Finding]:
        if signed is None:
            return
        key = self._keys.get(str(signed.get("signer")))
        if key is None:
            yield Finding(stream, signed["seq"], "is signed by a key that is not known")
        elif not key.verifies(signed["signature"], str(signed["hash"]).encode()):
            yield Finding(stream, signed["seq"], "has a wrong signature: it or entries before it were forged")

    def _bounds(self) -> dict[str, Heads]:
        """Return how far each retired key had signed, by signer."""
        known = {signer: (ts, self._checkpoint) for signer, ts in self._retired.items()}
        return retirement.bounds(self._keys, self._retirements, known)

    def _beyond(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield what a retired key signed beyond its heads, or otherwise than they say."""
        for signed in self._before_gaps:
            if not retirement.is_within(signed, bounds):
                yield Finding(signed["stream"], signed["seq"], _BY_DROPPED)
        for stream, state in self._streams.items():
            signed = state.signed or {}
            if not retirement.is_within(signed, bounds):
                yield Finding(stream, signed["seq"], _BY_DROPPED)
                continue
            head = bounds.get(str(signed.get("signer")), {}).get(stream)
            if head and head.seq == signed["seq"] and head.hash != signed["hash"]:
                yield Finding(stream, head.seq, "is not the entry that the retirement of its key holds")

    def _without_retirement(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield, for each key that was dropped and is not retired, an entry that it may sign any time."""
        for signer in self._dropped:
            mine = (state.signed for state in self._streams.values() if state.signed)
            found = [signed for signed in mine if signed.get("signer") == signer]
            open_ones = [signed for signed in found if not self._is_checked(signed)]
            if signer not in bounds and open_ones:
                text = "is signed by a master key that was dropped, and that no process has retired since"
                yield Finding(open_ones[-1]["stream"], open_ones[-1]["seq"], text, Kind.LOOK)

    def _is_checked(self, signed: Record) -> bool:
        """Return whether the checkpoint knows the entry."""
        witness = self._checkpoint.get(signed["stream"])
        return witness is not None and signed["seq"] <= witness.seq

    def _replaced(self, bounds: Mapping[str, Heads]) -> dict[str, Witness]:
        """Return what successors say of streams, of those that are signed: a forged one excuses nothing."""
        replaced: dict[str, Witness] = {}
        for stream, state in self._streams.items():
            is_signed = state.signed is not None and not any(self._signature(stream, state.signed))
            if is_signed and retirement.is_within(state.signed or {}, bounds):
                replaced |= state.replaces
        return replaced

    def _unsigned(self, replaced: Mapping[str, Witness]) -> Iterator[Finding]:
        for stream, state in self._streams.items():
            if state.signed is not state.last:
                yield self._unsigned_end(stream, state, replaced.get(stream))

    def _unsigned_end(self, stream: str, state: StreamState, replaced: Witness | None) -> Finding:
        seq, ts = state.last["seq"], state.last["ts"]
        is_one_commit = state.unsigned <= MAX_ENTRIES_PER_COMMIT
        if replaced and replaced.seq == state.covered and is_one_commit and ts <= replaced.until:
            names = f"with the {state.unsigned - 1} before it " if state.unsigned > 1 else ""
            text = f"is {names}of a commit that failed"
            if replaced.hashes is None:
                unknown = "or forged: the version that wrote it did not record what it tried to store"
                return Finding(stream, seq, f"{text}, {unknown}", Kind.LOOK)
            if replaced.hashes.issuperset(state.unsigned_hashes):
                return Finding(stream, seq, f"{text}; nothing was released", Kind.NOTE)
        elif ts < self._kept_since():
            # For a moment, where MongoDB was removing the stream just now. Forged entries could be as old.
            return Finding(stream, seq, "is past the retention, and covered by no signature", Kind.LOOK)
        return Finding(stream, seq, "ends its stream and is covered by no signature")

    def _short(
        self, replaced: Mapping[str, Witness], bounds: Mapping[str, Heads]
    ) -> Iterator[tuple[str, Witness]]:
        """Yield the streams that do not reach as far as a witness says, with that witness."""
        knows: dict[str, Witness] = {}
        for heads in (*bounds.values(), replaced, self._checkpoint):
            for stream, witness in heads.items():
                if stream not in knows or witness.seq >= knows[stream].seq:
                    knows[stream] = witness
        for stream, witness in knows.items():
            if witness.seq > self._reached(stream) and witness.ts >= self._kept_since():
                yield stream, witness

    def _reached(self, stream: str) -> int:
        state = self._streams.get(stream)
        return int(state.last["seq"]) if state else -1


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


def verify_records(
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


def retention_start(days: int, now: datetime) -> str:
    """Return the time, as in records, from which entries must be there; empty if all must."""
    return moment(now - timedelta(days=days) + _CLOCKS) if days else ""
