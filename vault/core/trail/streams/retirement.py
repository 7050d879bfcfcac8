"""Retirements: proofs of the last entries that a dropped master key signed.

A key that came later signs a retirement. A retirement has one or more parts, each with some of the heads, so
that each part fits into an entry of the trail. The signature of a part covers its canonical form without the
signature.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from vault.core.crypto import audit_chain
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.audit import Record

#: The stream and the number of an entry.
Place = tuple[str, int]

#: The maximum number of heads in a part: about 57 kB. A syslog message over UDP holds 64 kB.
_MAX_HEADS_PER_PART = 400

_PURPOSE = b"secret-manager audit signer retired "


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a stream, as known from elsewhere."""

    seq: int
    ts: str
    hash: str | None = None

    def row(self) -> dict[str, Any]:
        """Return it in the form of a record."""
        return {"seq": self.seq, "ts": self.ts, "hash": self.hash}


#: The heads of several streams, by stream.
Heads = Mapping[str, Head]


@dataclass(frozen=True, slots=True)
class Part:
    """A genuine part of a retirement."""

    #: The key that is retired, and the key that signed the retirement.
    signer: str
    by: str
    ts: str
    id: str
    number: int
    parts: int
    heads: Heads = field(repr=False)
    #: The place of the entry that holds the part; None for a part in `audit_keys`.
    place: Place | None = None

    @classmethod
    def of(cls, made: Any, keys: Mapping[str, VerifyingKey], place: Place | None = None) -> "Part | None":
        """Return the part in *made*; None if it holds no part that one of *keys* signed."""
        try:
            signed = {name: value for name, value in made.items() if name != "signature"}
            if not keys[made["by"]].verifies(made["signature"], _PURPOSE + audit_chain.canonical(signed)):
                return None
            heads = {
                str(stream): Head(int(seq), str(ts), str(digest)) for stream, seq, ts, digest in made["heads"]
            }
            signer, by, ts, retirement = (str(made[name]) for name in ("signer", "by", "ts", "id"))
            return cls(signer, by, ts, retirement, int(made["part"]), int(made["parts"]), heads, place)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Anyone with write access to the database can store anything here.
            return None


def make(signer: str, heads: Iterable[Record], key: SigningKey, ts: str) -> list[dict[str, Any]]:
    """Return the parts of a retirement of *signer* with *heads*, signed by *key*."""
    rows = [[head["stream"], head["seq"], head["ts"], head["hash"]] for head in heads]
    chunks = [rows[at : at + _MAX_HEADS_PER_PART] for at in range(0, len(rows), _MAX_HEADS_PER_PART)] or [[]]
    about = {"signer": signer, "by": key.public.signer, "ts": ts, "id": token_hex(8), "parts": len(chunks)}
    made = [{**about, "part": number, "heads": chunk} for number, chunk in enumerate(chunks)]
    return [{**part, "signature": key.sign(_PURPOSE + audit_chain.canonical(part))} for part in made]


def complete(parts: Iterable[Part]) -> Iterator[tuple[str, str, Heads]]:
    """Yield the signer, time and heads of each retirement with all its parts."""
    retirements: dict[tuple[str, str], dict[int, Part]] = {}
    for part in parts:
        retirements.setdefault((part.by, part.id), {})[part.number] = part
    for numbered in retirements.values():
        first = next(iter(numbered.values()))
        if len(numbered) == first.parts:
            heads = {stream: head for part in numbered.values() for stream, head in part.heads.items()}
            yield first.signer, first.ts, heads


def bounds(
    signers: Iterable[str],
    parts: Iterable[Part],
    known: Mapping[str, tuple[str, Heads]] = MappingProxyType({}),
    covered: Callable[[Heads], Heads] = lambda heads: heads,
) -> dict[str, Heads]:
    """Return the heads of each retired key of *signers*; the earliest retirement of a key takes effect.

    The first of *signers* is the current key, which is never retired. A retired key can no longer retire
    others: of its retirements, only those in entries within its own heads take effect. *known* retirements
    need no proof; each has its time. *covered* adds what heads cover through summaries.
    """
    by, *pending = signers
    parts = list(parts)
    ends = {signer: (ts, covered(heads)) for signer, (ts, heads) in known.items() if signer in pending}
    while True:
        end = ends.get(by)
        valid = [
            part
            for part in parts
            if part.by == by and (end is None or (part.place and reaches(end[1], part.place)))
        ]
        for signer, ts, heads in complete(valid):
            if signer in pending and (signer not in ends or ts < ends[signer][0]):
                ends[signer] = ts, covered(heads)
        if not pending:
            return {signer: heads for signer, (_, heads) in ends.items()}
        # Retired keys first: an attacker with one of them must not be able to retire later keys.
        by = next((signer for signer in pending if signer in ends), pending[0])
        pending.remove(by)


def is_within(bounds: Mapping[str, Heads], signer: object, place: Place) -> bool:
    """Return whether *signer* was not yet retired when it signed the entry at *place*."""
    heads = bounds.get(str(signer))
    return heads is None or reaches(heads, place)


def reaches(heads: Heads, place: Place) -> bool:
    """Return whether *heads* cover the entry at *place*."""
    stream, seq = place
    return stream in heads and seq <= heads[stream].seq
