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
from itertools import chain
from types import MappingProxyType
from typing import Self

from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.documents.audit import Record
from vault.core.trail.claims import Claims, Proof
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.reader import earliest_id
from vault.core.trail.streams import retirement, signing_keys
from vault.core.trail.streams.collection import collection_findings, records
from vault.core.trail.streams.entry import FOREIGN, MAX_TEXT_LENGTH, Entry, Predecessor, shown
from vault.core.trail.streams.retirement import Head, Heads, Part, Place
from vault.core.trail.streams.state import StreamState
from vault.core.trail.streams.summaries import closure, rows_of

#: The maximum lead of MongoDB's clock, which decides what has expired, over this machine's.
_MAX_CLOCK_LEAD = timedelta(minutes=1)

#: The time after which a commit that was read in part is complete.
_SETTLED_SECONDS = 4

#: The maximum number of times to read on. What arrives can name further streams; some trails never settle.
_MAX_ROUNDS = 5

_BY_DROPPED = "is signed by a master key that had been dropped before"
_NOT_LISTED = "is not the entry that the summary of its stream lists"
_AFTER_LISTED = "comes after the end of its stream: a summary lists an earlier one"
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

    @property
    def _signed(self) -> list[Entry]:
        """The last signed entry of each stream that has one."""
        return [stream.signed for stream in self._streams.values() if stream.signed]

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
        if not entry.flaw and (rows := rows_of(record)):
            state = self._streams[entry.stream]
            # Only of known keys: other summaries prove nothing, and would fill the memory.
            if state.last is entry and not any(self._signature(entry)):
                state.summaries = (*state.summaries, (entry.seq, rows))
        if self._hashes.get(entry.place, entry.hash) != entry.hash:
            yield entry.finding("is not the entry in the checkpoint")

    def _move(self, entry: Entry) -> Iterator[Finding]:
        """Move the stream of *entry* by the event that *entry* is."""
        stream = self._streams.get(entry.stream)
        expected = stream.last.seq + 1 if stream else 0
        if stream and stream.is_closed and entry.seq >= expected:
            yield entry.finding("comes after the entry that closes its stream")
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
        kind = Gravity.NOTE if is_expired else Gravity.TAMPERING
        yield entry.finding(f"{names} before it: {fate}", kind, is_gap=True)
        if stream is None:
            return
        if stream.signed:
            yield from self._signature(stream.signed)
            if stream.signed.signer != next(iter(self._keys)):
                self._before_gaps.append((stream.signed.signer, stream.signed.place))
        if is_expired and stream.unsigned:
            # Expected only while MongoDB is removing these entries.
            yield stream.last.finding("precedes removed entries, and no signature covers it", Gravity.LOOK)
        if is_expired and stream.last.ts > entry.previous_ts:
            # MongoDB removes the oldest entries first: entries that remain before a gap are no younger.
            yield stream.last.finding("is younger than the entries after it")

    def has_seen(self, record: Record) -> bool:
        """Return whether the stream of *record* has already reached its number."""
        seq = record["seq"]
        return isinstance(seq, int) and seq <= self._reached(str(record["stream"]))

    def ends(self) -> list[End]:
        """Return the ends of streams that are tampering unless more entries arrive.

        While the service writes, a commit can be read in part, and a stream can grow before its successor is
        read. Read on from these ends, and look for further successors.
        """
        bounds = self._bounds()
        replaced, closed = self._replaced(bounds), self._closed(bounds)
        tails = [End(tail.stream, tail.seq) for tail in self._tails(replaced) if tail.tampering]
        cut = self._cut(bounds, replaced, closed)
        return tails + [End(name, self._reached(name), seq) for name, seq, _ in cut]

    def finish(self) -> Iterator[Finding]:
        """Yield the final judgement: the findings about the collection, and about the ends of all streams."""
        yield from self._of_collection
        bounds = self._bounds()
        closed = self._closed(bounds)
        for name, stream in self._streams.items():
            # A genuine row covers the signature, too.
            if stream.signed and not stream.ends_with(closed.get(name)):
                yield from self._signature(stream.signed)
        yield from self._beyond(closed)
        yield from self._out_of_bounds(bounds)
        yield from self._unbounded(bounds)
        replaced = self._replaced(bounds)
        yield from self._tails(replaced)
        for name, seq, witness in self._cut(bounds, replaced, closed):
            where = "at the end" if name in self._streams else "with its whole stream"
            yield Finding(name, seq, f"is missing {where}: {witness} lists it", is_gap=True)
        for claims in self._claims:
            yield from claims.unproved(Proof(self._kept_since(), bounds, self._dropped, self._covered))

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
        return retirement.bounds(signers, self._retirements, known, self._covered)

    def _covered(self, heads: Heads) -> Heads:
        """Return *heads* with the ends of the streams that they cover through summaries.

        All that is within heads is genuine, or there is a finding: but not before a gap.
        """
        return closure(heads, {name: stream.summaries for name, stream in self._streams.items()})

    def _closed(self, bounds: Mapping[str, Heads]) -> Heads:
        """Return the ends of the streams that genuine summaries list."""
        streams = (stream for stream in self._streams.values() if stream.summaries)
        lists = (stream.summaries for stream in streams if self._is_genuine(stream, bounds))
        return {name: head for _, rows in chain.from_iterable(lists) for name, head in rows.items()}

    def _is_genuine(self, stream: StreamState, bounds: Mapping[str, Heads]) -> bool:
        """Return whether the last signature of *stream* is genuine, and so all that it covers."""
        last = stream.signed
        if last is None or not retirement.is_within(bounds, last.signer, last.place):
            return False
        return not any(self._signature(last))

    def _beyond(self, closed: Heads) -> Iterator[Finding]:
        """Yield a finding for each *closed* stream that has another entry at its end, or goes on after it."""
        for name, head in closed.items():
            stream = self._streams.get(name)
            if stream and stream.last.seq >= head.seq and not stream.ends_with(head):
                yield stream.last.finding(_NOT_LISTED if stream.last.seq == head.seq else _AFTER_LISTED)

    def _out_of_bounds(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield the entries that a retired key signed beyond its heads, or that differ from them."""
        for signer, place in self._before_gaps:
            if not retirement.is_within(bounds, signer, place):
                yield Finding(*place, _BY_DROPPED)
        for signed in self._signed:
            head = bounds.get(signed.signer, {}).get(signed.stream)
            # Retention can have removed the entry of the head: then its time is what bounds the others.
            is_within = retirement.is_within(bounds, signed.signer, signed.place)
            if not is_within or (head and signed.ts > head.ts):
                # Expected only while MongoDB removes a stream, and has removed its summary.
                is_expired = signed.ts < self._kept_since()
                yield signed.finding(_BY_DROPPED, Gravity.LOOK if is_expired else Gravity.TAMPERING)
            elif head and head.seq == signed.seq and head.hash not in (signed.hash, signed.link):
                yield signed.finding("is not the entry in the retirement of its key")

    def _unbounded(self, bounds: Mapping[str, Heads]) -> Iterator[Finding]:
        """Yield, for each dropped key that is not retired, one entry that its holder could have forged."""
        covered = self._covered(self._checkpoint)
        for signer in self._dropped:
            mine = (signed for signed in self._signed if signed.signer == signer)
            unproven = [signed for signed in mine if not retirement.reaches(covered, signed.place)]
            if signer not in bounds and unproven:
                yield unproven[-1].finding(_NOT_RETIRED, Gravity.LOOK)

    def _replaced(self, bounds: Mapping[str, Heads]) -> dict[str, Predecessor]:
        """Return the streams that genuine successors replace: a forged successor excuses nothing."""
        successors = (stream for stream in self._streams.values() if stream.replaces)
        genuine = (stream for stream in successors if self._is_genuine(stream, bounds))
        return {name: known for stream in genuine for name, known in stream.replaces.items()}

    def _tails(self, replaced: Mapping[str, Predecessor]) -> Iterator[Finding]:
        """Yield a finding for each stream with an unsigned tail."""
        for name, stream in self._streams.items():
            if stream.unsigned:
                yield stream.tail(replaced.get(name), self._kept_since())

    def _cut(
        self, bounds: Mapping[str, Heads], replaced: Mapping[str, Predecessor], closed: Heads
    ) -> Iterator[tuple[str, int, str]]:
        """Yield each stream that ends before its newest known entry, with that entry's number and witness."""
        known: dict[str, tuple[Head, str]] = {}
        kept_since = self._kept_since()
        for witness, heads in (
            *(("the retirement of its key", heads) for heads in bounds.values()),
            ("its successor", replaced),
            ("a summary", closed),
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
