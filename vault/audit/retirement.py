"""Retirements: how far a master key that was dropped had signed the trail.

A retirement is signed by a key that came later. It has one part or several, each with some of the heads, so
that an entry of the trail can hold a part. The signature covers the canonical form of the part without it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from vault.crypto import chain
from vault.crypto.chain import SigningKey, VerifyingKey
from vault.documents.audit import Record


@dataclass(frozen=True, slots=True)
class Witness:
    """Says from outside of a stream how far it was stored."""

    seq: int
    ts: str
    name: str
    hash: str | None = None
    #: When a successor began: nothing was written to the stream after that.
    until: str = ""
    #: The hashes that the stream tried to store last; None if a version wrote it that did not record them.
    hashes: frozenset[str] | None = frozenset()

    def row(self) -> dict[str, Any]:
        """Return its place, time and hash, as a head has them."""
        return {"seq": self.seq, "ts": self.ts, "hash": self.hash}


#: Heads of one part: about 57 kB, of 64 kB that a syslog message by UDP can have.
_HEADS_A_PART = 400

_PURPOSE = b"secret-manager audit signer retired "

#: The newest entries of a retired key by stream.
Heads = Mapping[str, Witness]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a retirement, and genuine."""

    #: The key that is retired, and the one that says so.
    signer: str
    by: str
    ts: str
    id: str
    number: int
    parts: int
    heads: Heads = field(repr=False)
    #: Stream and number of the entry that holds it; None where `audit_keys` does.
    place: tuple[str, int] | None = None

    @classmethod
    def of(
        cls, made: Any, keys: Mapping[str, VerifyingKey], place: tuple[str, int] | None = None
    ) -> "Part | None":
        """Return the part that *made* holds; None if it holds none, or one that none of *keys* signed."""
        try:
            signed = {name: value for name, value in made.items() if name != "signature"}
            if not keys[made["by"]].verifies(made["signature"], _PURPOSE + chain.canonical(signed)):
                return None
            heads = {
                str(stream): Witness(int(seq), str(ts), "the retirement of its key", str(digest))
                for stream, seq, ts, digest in made["heads"]
            }
            signer, by, ts, retirement = (str(made[name]) for name in ("signer", "by", "ts", "id"))
            return cls(signer, by, ts, retirement, int(made["part"]), int(made["parts"]), heads, place)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Anyone who can write to the database can leave anything there.
            return None


def make(signer: str, heads: Iterable[Record], key: SigningKey, ts: str) -> list[dict[str, Any]]:
    """Return the parts of a retirement of *signer* with *heads*, signed by *key*."""
    rows = [[head["stream"], head["seq"], head["ts"], head["hash"]] for head in heads]
    chunks = [rows[at : at + _HEADS_A_PART] for at in range(0, len(rows), _HEADS_A_PART)] or [[]]
    about = {"signer": signer, "by": key.public.signer, "ts": ts, "id": token_hex(8), "parts": len(chunks)}
    made = [{**about, "part": number, "heads": chunk} for number, chunk in enumerate(chunks)]
    return [{**part, "signature": key.sign(_PURPOSE + chain.canonical(part))} for part in made]


def complete(parts: Iterable[Part]) -> Iterator[tuple[str, str, Heads]]:
    """Yield signer, time and heads of each retirement of which all parts are there."""
    found: dict[tuple[str, str], dict[int, Part]] = {}
    for part in parts:
        found.setdefault((part.by, part.id), {})[part.number] = part
    for numbered in found.values():
        first = next(iter(numbered.values()))
        if len(numbered) == first.parts:
            heads = {stream: head for part in numbered.values() for stream, head in part.heads.items()}
            yield first.signer, first.ts, heads


def bounds(
    signers: Iterable[str],
    parts: Iterable[Part],
    known: Mapping[str, tuple[str, Heads]] = MappingProxyType({}),
) -> dict[str, Heads]:
    """Return the heads of each of *signers* that is retired; the earliest retirement of a key takes effect.

    The first of *signers* is the current key, and never retired. A retired key can no longer retire others:
    of its retirements only those in entries within its own heads take effect. *known* are retirements that
    need no proof, each with its time.
    """
    by, *pending = signers
    parts = list(parts)
    found = {signer: end for signer, end in known.items() if signer in pending}
    while True:
        end = found.get(by)
        allowed = [part for part in parts if part.by == by and (end is None or _is_within(part, end[1]))]
        for signer, ts, heads in complete(allowed):
            if signer in pending and (signer not in found or ts < found[signer][0]):
                found[signer] = ts, heads
        if not pending:
            return {signer: heads for signer, (_, heads) in found.items()}
        # Retired keys first: an attacker who has one of them must not be able to retire later ones.
        by = next((signer for signer in pending if signer in found), pending[0])
        pending.remove(by)


def _is_within(part: Part, heads: Heads) -> bool:
    if part.place is None:
        return False
    stream, seq = part.place
    return stream in heads and seq <= heads[stream].seq


def is_within(signed: Record, bounds: Mapping[str, Heads]) -> bool:
    """Return whether the key that *signed* the entry was not retired by then."""
    heads = bounds.get(str(signed.get("signer")))
    return heads is None or (signed["stream"] in heads and signed["seq"] <= heads[signed["stream"]].seq)
