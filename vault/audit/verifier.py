"""Verification of an audit trail: its hash chains, its signatures, and the heads known from elsewhere.

A `Verifier` is a state machine. It takes the records of a trail, of each stream in the order of their
numbers; streams can be interleaved. Each record becomes an `Entry`, and each entry is one event: it begins a
stream, continues it, leaves a gap before it, or repeats a number. A gap starts the stream afresh: no later
signature covers what came before it. A `StreamState` holds the last entry, the last signed entry and the
unsigned tail after that. `Verifier.finish` judges the ends of all streams.

Memory grows with the number of streams, not of entries, nor with the size of what an attacker planted. Of
each stream, only the last signature is verified: through the chain, it covers every entry and every signature
before it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol, Self

from vault.audit import retirement, signing_keys
from vault.audit.collection import collection_findings, records
from vault.audit.entry import FOREIGN, MAX_TEXT_LENGTH, Entry, Predecessor, shown
from vault.audit.findings import Finding, Kind
from vault.audit.reader import earliest_id
from vault.audit.retirement import Head, Heads, Part, Place
from vault.audit.stream import MAX_ENTRIES_PER_COMMIT
from vault.core.attempt import Action
from vault.core.timestamps import moment
from vault.crypto import Keyring
from vault.crypto.audit_chain import VerifyingKey
from vault.documents.audit import Record

#: The maximum lead of MongoDB's clock, which decides what has expired, over this machine's.
_MAX_CLOCK_LEAD = timedelta(minutes=1)

#: The time after which a commit that was read in part is complete.
_SETTLED_SECONDS = 4

#: The maximum number of times to read on. What arrives can name further streams; some trails never settle.
_MAX_ROUNDS = 5

_BY_DROPPED = "is signed by a master key that had been dropped before"
_NOT_RETIRED = (
    "is signed by a master key that was dropped and is not retired yet: a running service retires it within "
    "two minutes"
)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a stream as far as it was read, where more entries are expected."""

    stream: str
    #: The newest entry that was read; -1 for none.
    seq: int
    #: The newest entry known from elsewhere; -1 for none: then the entry read last lacks a signature.
    known: int = -1


#: Yields the entries that arrived after these ends.
ReadOn = Callable[[Sequence[End]], Iterable[Record]]


def nothing_more(_ends: Sequence[End]) -> Iterable[Record]:
    """Return no entries, for a trail that does not grow."""
    return ()


def verify_records(
    verifier: "Verifier", records: Iterable[Record], read_on: ReadOn = nothing_more
) -> Iterator[Finding]:
    """Yield the findings of *verifier* in *records*, and in what *read_on* adds to incomplete streams."""
    for record in records:
        yield from verifier.add(record)
    known: list[End] = []
    for _ in range(_MAX_ROUNDS):
        ends = verifier.ends()
        if not ends or ends == known:
            break
        known = ends
        for record in read_on(ends):
            if not verifier.has_seen(record):
                yield from verifier.add(record)
    yield from verifier.finish()


def read_on(ends: Sequence[End], *, began: datetime) -> Iterator[Record]:
    """Yield the entries after *ends*, up to the signed end of the commit with the newest known entry.

    For a stream with an unsigned end, also yield the first commit of each stream that replaces it. Streams
    older than *began*, the start of the verification, have already been read.
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
    """Return the time, as in records, since which no entry may be missing; "" if none may be missing."""
    return moment(now - timedelta(days=days) + _MAX_CLOCK_LEAD) if days else ""


class Claims(Protocol):
    """Claims about a trail: receipts, or a certificate."""

    def meet(self, entry: Entry, record: Record, /) -> None:
        """Take the next *entry*, which is decoded from *record*."""

    def unproved(
        self, kept_since: str, bounds: Mapping[str, Heads], dropped: Collection[str], /
    ) -> Iterator[Finding]:
        """Yield, after the last entry, a finding for each claim that the trail does not prove.

        Entries from before *kept_since* may be missing. *bounds* are the last genuine signatures of retired
        keys, and *dropped* the keys that must be retired.
        """


class Verifier:
    """Takes all records of a trail, and yields findings on each and at the end."""

    def __init__(
        self,
        keys: Mapping[str, VerifyingKey],
        *,
        kept_since: Callable[[], str] = lambda: "",
        heads: Mapping[str, Record] | None = None,
        hashes: Mapping[Place, str] | None = None,
        retirements: Sequence[Part] = (),
        retired: Mapping[str, str] = MappingProxyType({}),
        dropped: Collection[str] = (),
        of_collection: Sequence[Finding] = (),
        claims: Sequence[Claims] = (),
    ) -> None:
        """Prepare for a trail signed by *keys* (by signer), of which the first is the current one.

        Entries older than *kept_since* may be missing. It returns a time as in records, or "" if entries are
        permanent; it is called for each gap, because pruning continues meanwhile. *heads* are the heads of a
        checkpoint, by stream, and *retired* the keys that sign nothing beyond them, each with the time of the
        checkpoint. With several checkpoints, *heads* are the newest ones, and *hashes* those of all heads, by
        place. *retirements* are known in addition to those in the trail. *dropped* keys must be retired.
        *of_collection* are findings about the collection as a whole. The entries must prove the *claims*.
        """
        self._keys = keys
        self._kept_since = kept_since
        self._checkpoint = {
            name: Head(head["seq"], head["ts"], head["hash"]) for name, head in (heads or {}).items()
        }
        known = {(name, head.seq): head.hash for name, head in self._checkpoint.items()}
        self._hashes: Mapping[Place, str | None] = hashes or known
        self._retirements = list(retirements)
        self._retired = retired
        self._dropped = dropped
        self._of_collection = of_collection
        self._claims = claims
        self._streams: dict[str, StreamState] = {}
        #: Signer and place of the last signature before each gap, except signatures of the current key.
        self._before_gaps: list[tuple[str, Place]] = []
        self.entries = 0

    @classmethod
    def of_database(
        cls,
        keyring: Keyring,
        *,
        kept_since: Callable[[], str] = lambda: "",
        heads: Mapping[str, Record] | None = None,
        hashes: Mapping[Place, str] | None = None,
        retired: Mapping[str, str] = MappingProxyType({}),
        retention_days: int | None = None,
        claims: Sequence[Claims] = (),
    ) -> Self:
        """Prepare for the trail in the connected database, with the evidence that *keyring* vouches for.

        MongoDB may not remove entries before they are *retention_days* old; 0 if they are permanent, None if
        that is unknown.
        """
        return cls(
            signing_keys.trusted(keyring),
            kept_since=kept_since,
            heads=heads,
            hashes=hashes,
            retirements=signing_keys.retirements(keyring),
            retired=retired,
            dropped=signing_keys.dropped(keyring),
            of_collection=collection_findings(retention_days),
            claims=claims,
        )

    @property
    def streams(self) -> int:
        """The number of streams seen."""
        return len(self._streams)

    def add(self, record: Record) -> Iterator[Finding]:
        """Take the next record; yield the findings about it."""
        self.entries += 1
        entry = Entry.decode(record)
        if entry is None:
            seq = record.get("seq")
            stream = str(record.get("stream"))[:MAX_TEXT_LENGTH]
            ts, action = shown(record.get("ts")), shown(record.get("action"))
            yield Finding(stream, seq if isinstance(seq, int) else -1, FOREIGN, ts=ts, action=action)
            return
        if entry.flaw:
            yield entry.finding(entry.flaw)
        elif record.get("action") == Action.SIGNER_RETIRED:
            part = Part.of(record.get("details"), self._keys, entry.place)
            self._retirements += [part] if part else []
        yield from self._move(entry)
        for claims in self._claims:
            claims.meet(entry, record)
        if self._hashes.get(entry.place, entry.hash) != entry.hash:
            yield entry.finding("is not the entry in the checkpoint")

    def _move(self, entry: Entry) -> Iterator[Finding]:
        """Move the stream of *entry* by the event that *entry* is."""
        stream = self._streams.get(entry.stream)
        expected = stream.last.seq + 1 if stream else 0
        if entry.seq > expected:
            yield from self._gap(stream, expected, entry)
            self._streams[entry.stream] = StreamState(entry)
        elif stream is None:
            self._streams[entry.stream] = StreamState(entry)
        elif entry.seq == expected:
            if broken := entry.broken_link(stream.last):
                yield entry.finding(broken)
            stream.extend(entry)
        else:
            is_last = entry.seq == stream.last.seq
            yield entry.finding("appears twice" if is_last else f"comes after entry {stream.last.seq}")

    def _gap(self, stream: "StreamState | None", first: int, entry: Entry) -> Iterator[Finding]:
        """Judge the gap from number *first* to *entry*, and the *stream* before it by itself."""
        names = f"entry {first}" if first == entry.seq - 1 else f"entries {first} to {entry.seq - 1}"
        is_expired = "" < entry.previous_ts < self._kept_since()
        fate = "gone, past the retention" if is_expired else "missing, within the retention"
        kind = Kind.NOTE if is_expired else Kind.TAMPERING
        yield entry.finding(f"{names} before it: {fate}", kind, is_gap=True)
        if stream is None:
            return
        if stream.signed:
            yield from self._signature(stream.signed)
            if stream.signed.signer != next(iter(self._keys)):
                self._before_gaps.append((stream.signed.signer, stream.signed.place))
        if is_expired and stream.unsigned:
            # Expected only while MongoDB is removing these entries.
            yield stream.last.finding("precedes removed entries, and no signature covers it", Kind.LOOK)
        if is_expired and stream.last.ts > entry.previous_ts:
            # MongoDB removes the oldest entries first: entries that remain before a gap are no younger.
            yield stream.last.finding("is younger than the entries after it")

    def has_seen(self, record: Record) -> bool:
        """Return whether the stream of *record* has already reached its number."""
        seq = record["seq"]
        return isinstance(seq, int) and seq <= self._reached(str(record["stream"]))

    def ends(self) -> list[End]:
        """Return the ends of streams that are tampering unless more entries arrive.

        While the service writes, a commit can be read in part, and a stream can grow after its own reading
        and before the reading of its successor. Read on from these ends, and look for further successors.
        """
        bounds = self._bounds()
        replaced = self._replaced(bounds)
        tails = [End(tail.stream, tail.seq) for tail in self._tails(replaced) if tail.tampering]
        return tails + [End(name, self._reached(name), seq) for name, seq, _ in self._cut(bounds, replaced)]

    def finish(self) -> Iterator[Finding]:
        """Yield the final judgement: the findings about the collection, and about the ends of all streams."""
        yield from self._of_collection
        for stream in self._streams.values():
            if stream.signed:
                yield from self._signature(stream.signed)
        bounds = self._bounds()
        yield from self._out_of_bounds(bounds)
        yield from self._unbounded(bounds)
        replaced = self._replaced(bounds)
        yield from self._tails(replaced)
        for name, seq, witness in self._cut(bounds, replaced):
            where = "at the end" if name in self._streams else "with its whole stream"
            yield Finding(name, seq, f"is missing {where}: {witness} lists it", is_gap=True)
        for claims in self._claims:
            yield from claims.unproved(self._kept_since(), bounds, self._dropped)

    def _signature(self, signed: Entry) -> Iterator[Finding]:
        """Yield a finding unless a known key signed the entry *signed*."""
        key = self._keys.get(signed.signer)
        if key is None:
            yield signed.finding("is signed by a key that is not known", unknown_signer=signed.signer)
        elif not key.verifies(signed.signature, signed.hash.encode(errors="replace")):
            yield signed.finding("has an invalid signature: it or an entry before it was forged")

    def _bounds(self) -> dict[str, Heads]:
        """Return the last genuine signatures of each retired key, by signer."""
        known = {signer: (ts, self._checkpoint) for signer, ts in self._retired.items()}
        # Also of keys that are unknown: someone may have removed a key with all that it signed.
        signers = dict.fromkeys((*self._keys, *(part.signer for part in self._retirements)))
        return retirement.bounds(signers, self._retirements, known)

    def _out_of_bounds(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield the entries that a retired key signed beyond its heads, or that differ from them."""
        for signer, place in self._before_gaps:
            if not retirement.is_within(bounds, signer, place):
                yield Finding(*place, _BY_DROPPED)
        for signed in self._signed():
            head = bounds.get(signed.signer, {}).get(signed.stream)
            if not retirement.is_within(bounds, signed.signer, signed.place):
                yield signed.finding(_BY_DROPPED)
            elif head and head.seq == signed.seq and head.hash != signed.hash:
                yield signed.finding("is not the entry in the retirement of its key")

    def _unbounded(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield, for each dropped key that is not retired, one entry that its holder could have forged."""
        for signer in self._dropped:
            mine = (signed for signed in self._signed() if signed.signer == signer)
            unproven = [signed for signed in mine if not retirement.reaches(self._checkpoint, signed.place)]
            if signer not in bounds and unproven:
                yield unproven[-1].finding(_NOT_RETIRED, Kind.LOOK)

    def _signed(self) -> list[Entry]:
        """Return the last signed entry of each stream that has one."""
        return [stream.signed for stream in self._streams.values() if stream.signed]

    def _replaced(self, bounds: Mapping[str, Heads]) -> dict[str, Predecessor]:
        """Return the streams that genuine successors replace: a forged successor excuses nothing."""
        replaced: dict[str, Predecessor] = {}
        for stream in self._streams.values():
            signed = stream.signed
            if stream.replaces and signed and retirement.is_within(bounds, signed.signer, signed.place):
                replaced |= {} if any(self._signature(signed)) else stream.replaces
        return replaced

    def _tails(self, replaced: Mapping[str, Predecessor]) -> Iterator[Finding]:
        """Yield a finding for each stream with an unsigned tail."""
        for name, stream in self._streams.items():
            if stream.unsigned:
                yield self._tail(stream, replaced.get(name))

    def _tail(self, stream: "StreamState", known: Predecessor | None) -> Finding:
        """Judge the unsigned tail of *stream*; *known* is what a successor says about the stream, if any."""
        last = stream.last
        if known and stream.is_leftover(known):
            names = f"with the {stream.unsigned - 1} before it " if stream.unsigned > 1 else ""
            text = f"is {names}of a commit that failed"
            if known.hashes is None:
                reason = "the version that wrote it did not record what it tried to store"
                return last.finding(f"{text}, or forged: {reason}", Kind.LOOK)
            if known.hashes.issuperset(stream.unsigned_hashes):
                return last.finding(f"{text}; nothing was released", Kind.NOTE)
        elif last.ts < self._kept_since():
            # Expected only while MongoDB is removing the stream. A forged entry can be as old.
            return last.finding("is past the retention, and no signature covers it", Kind.LOOK)
        return last.finding("ends its stream, and no signature covers it", is_gap=True)

    def _cut(
        self, bounds: Mapping[str, Heads], replaced: Mapping[str, Predecessor]
    ) -> Iterator[tuple[str, int, str]]:
        """Yield each stream that ends before its newest known entry, with that entry's number and witness."""
        known: dict[str, tuple[Head, str]] = {}
        kept_since = self._kept_since()
        for witness, heads in (
            *(("the retirement of its key", heads) for heads in bounds.values()),
            ("its successor", replaced),
            ("the checkpoint", self._checkpoint),
        ):
            for name, head in heads.items():
                # Each head by itself: a forged one, which is past the retention, must not hide another.
                is_due = head.seq > self._reached(name) and head.ts >= kept_since
                if is_due and (name not in known or head.seq >= known[name][0].seq):
                    known[name] = head, witness
        for name, (head, witness) in known.items():
            yield name, head.seq, witness

    def _reached(self, name: str) -> int:
        """Return the number of the last entry of a stream, -1 for none."""
        return self._streams[name].last.seq if name in self._streams else -1


class StreamState:
    """The state of a stream since its beginning or its last gap."""

    __slots__ = ("_first", "last", "replaces", "signed", "unsigned", "unsigned_hashes")

    def __init__(self, entry: Entry) -> None:
        """Begin with *entry*."""
        self._first = entry.seq
        #: The streams that this one replaces, because their commits failed.
        self.replaces = entry.replaces
        self.signed: Entry | None = None
        #: The length of the unsigned tail, and its hashes, at most of one commit.
        self.unsigned = 0
        self.unsigned_hashes: list[str] = []
        self.extend(entry)

    def extend(self, entry: Entry) -> None:
        """Continue with *entry*."""
        self.last = entry
        if entry.is_signed:
            self.signed, self.unsigned, self.unsigned_hashes = entry, 0, []
            return
        self.unsigned += 1
        if self.unsigned <= MAX_ENTRIES_PER_COMMIT:
            self.unsigned_hashes.append(entry.hash)

    def is_leftover(self, known: Predecessor) -> bool:
        """Return whether a commit that failed after the *known* head can have left the unsigned tail."""
        covered = self.signed.seq if self.signed else self._first - 1
        return (
            known.seq == covered and self.unsigned <= MAX_ENTRIES_PER_COMMIT and self.last.ts <= known.until
        )
