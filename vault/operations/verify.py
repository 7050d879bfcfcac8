"""Holding an audit trail against its chains, signatures and a checkpoint.

Entries come as records (`AuditEntry.record`), those of one stream in the order of their numbers; streams may
come in any order, also interleaved. Memory grows with the number of streams, not of entries.

Only the last signature of each stream is verified: it covers, through the chain, every entry and every
signature before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vault.crypto import chain
from vault.crypto.chain import VerifyingKey

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one entry: tampering, or just worth knowing."""

    stream: str
    seq: int
    text: str
    #: Whether the trail is not what the service wrote.
    tampering: bool = True


@dataclass(slots=True)
class _State:
    """What is remembered of a stream: its newest entry, and its newest signed one."""

    last: Record
    signed: Record | None = None


@dataclass(frozen=True, slots=True)
class _Witness:
    """Says from outside of a stream how far it was stored."""

    seq: int
    ts: str
    name: str
    hash: str | None = None


class Verifier:
    """Takes all records and yields findings, on the way and at the end."""

    def __init__(
        self,
        keys: Mapping[str, VerifyingKey],
        *,
        kept_since: str = "",
        heads: Mapping[str, Record] | None = None,
    ) -> None:
        """Prepare for a trail that *keys* (by signer) signed.

        What is older than *kept_since* (a time as in records; empty when entries are kept for good) may be
        missing. *heads* are those of a checkpoint, by stream.
        """
        self._keys = keys
        self._kept_since = kept_since
        self._checkpoint = {
            stream: _Witness(head["seq"], head["ts"], "the checkpoint", head["hash"])
            for stream, head in (heads or {}).items()
        }
        self._replaced: dict[str, _Witness] = {}
        self._streams: dict[str, _State] = {}
        self.entries = 0

    def add(self, record: Record) -> Iterator[Finding]:
        """Take the next record; yield what is wrong with it."""
        self.entries += 1
        try:
            yield from self._add(record)
        except (AttributeError, KeyError, TypeError, ValueError):
            yield Finding(str(record.get("stream")), -1, "is not an entry of this service's making")

    @property
    def streams(self) -> int:
        """How many streams were seen."""
        return len(self._streams)

    def unsigned(self) -> list[tuple[str, int]]:
        """Return stream and newest number of each stream whose newest entry is not signed.

        While the service writes, these may be commits that were read half: read on from there.
        """
        return [
            (stream, state.last["seq"])
            for stream, state in self._streams.items()
            if state.signed is not state.last
        ]

    def finish(self) -> Iterator[Finding]:
        """Yield what is wrong with the trail as a whole."""
        for stream, state in self._streams.items():
            yield from self._signature(stream, state.signed)
            if state.signed is not state.last:
                yield self._unsigned_end(stream, state)
        for witnesses in (self._replaced, self._checkpoint):
            for stream, witness in witnesses.items():
                yield from self._reaches(stream, witness)

    def _add(self, record: Record) -> Iterator[Finding]:
        stream, seq = record["stream"], record["seq"] + 0
        if record["hash"] != chain.digest(record):
            yield Finding(stream, seq, "was altered: its hash does not fit its content")
        state = self._streams.get(stream)
        if state is None:
            yield from self._first(record)
            self._streams[stream] = _State(record, record if "signature" in record else None)
        else:
            yield from self._next(record, state.last)
            if seq > state.last["seq"]:
                state.last = record
                state.signed = record if "signature" in record else state.signed
        witness = self._checkpoint.get(stream)
        if witness and witness.seq == seq and witness.hash != record["hash"]:
            yield Finding(stream, seq, "is not the entry that the checkpoint holds")

    def _first(self, record: Record) -> Iterator[Finding]:
        for left in record.get("replaces", ()):
            self._replaced[left["stream"]] = _Witness(left["seq"], left.get("ts", ""), "its successor")
        if record["seq"] > 0:
            yield self._missing(record, 0)

    def _next(self, record: Record, last: Record) -> Iterator[Finding]:
        stream, seq = record["stream"], record["seq"]
        if seq == last["seq"]:
            yield Finding(stream, seq, "is there twice")
        elif seq < last["seq"]:
            yield Finding(stream, seq, f"comes after entry {last['seq']}")
        elif seq > last["seq"] + 1:
            yield self._missing(record, last["seq"] + 1)
        elif record["previous"] != chain.link(last):
            yield Finding(stream, seq, "does not follow the entry before it, which was altered or replaced")

    def _missing(self, record: Record, first: int) -> Finding:
        stream, seq = record["stream"], record["seq"]
        names = f"entry {first}" if first == seq - 1 else f"entries {first} to {seq - 1}"
        if record["previous_ts"] < self._kept_since:
            return Finding(stream, seq, f"{names} before it: gone, past the retention", tampering=False)
        return Finding(stream, seq, f"{names} before it: missing, within the retention")

    def _signature(self, stream: str, signed: Record | None) -> Iterator[Finding]:
        if signed is None:
            return
        key = self._keys.get(str(signed.get("signer")))
        if key is None:
            yield Finding(stream, signed["seq"], "is signed by a key that is not known")
        elif not key.verifies(signed["signature"], str(signed["hash"]).encode()):
            yield Finding(stream, signed["seq"], "has a wrong signature: it or entries before it were forged")

    def _unsigned_end(self, stream: str, state: _State) -> Finding:
        seq = state.last["seq"]
        replaced = self._replaced.get(stream)
        if replaced and replaced.seq == (state.signed["seq"] if state.signed else -1):
            return Finding(stream, seq, "is of a commit that failed; nothing was released", tampering=False)
        return Finding(stream, seq, "ends its stream and is covered by no signature")

    def _reaches(self, stream: str, witness: _Witness) -> Iterator[Finding]:
        state = self._streams.get(stream)
        if witness.seq < 0 or witness.ts < self._kept_since:
            return
        if state is None:
            yield Finding(stream, witness.seq, f"is missing with its whole stream: {witness.name} knows it")
        elif state.last["seq"] < witness.seq:
            yield Finding(stream, witness.seq, f"is missing at the end: {witness.name} knows it")
