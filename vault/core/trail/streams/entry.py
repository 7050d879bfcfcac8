"""Entries of the audit trail as its verification sees them: decoded, each with its flaw if it has one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vault.core.crypto import audit_chain
from vault.core.documents.audit import Record
from vault.core.documents.base import is_text
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.streams.retirement import Head, Place
from vault.core.trail.streams.stream import MAX_ENTRIES_PER_COMMIT, MAX_REPLACED

_ALTERED = "was altered: its hash does not match its content"
FOREIGN = "was altered or planted: the service stores no entry in this form"

#: The maximum length of a text that is kept: that of a signature, the longest text of the service.
MAX_TEXT_LENGTH = 128
#: The maximum length of a time or an action in a finding.
_MAX_SHOWN_LENGTH = 40
#: The texts of a record that its entry keeps.
_KEPT = ("stream", "ts", "hash", "previous", "previous_ts", "signer", "signature")


@dataclass(frozen=True, slots=True)
class Predecessor(Head):
    """A replaced stream, as its successor describes it: its head, and the commit that failed after that."""

    #: The time when the successor began: nothing was written to the stream after that.
    until: str = ""
    #: The hashes of the failed commit; None if the version that wrote them did not record them.
    hashes: frozenset[str] | None = None


# Not frozen: that doubles the time to make one, and there is one for each record.
@dataclass(slots=True)
class Entry:
    """A decoded record that has a place in a stream."""

    stream: str
    seq: int
    ts: str
    previous: str
    #: "" if it is missing.
    previous_ts: str
    hash: str
    #: The value of `previous` that the next entry must have.
    link: str
    is_signed: bool
    signer: str
    signature: object
    #: The reason why the record is not what the service wrote; None if its hash matches its content.
    flaw: str | None
    replaces: Mapping[str, Predecessor]
    #: For findings only; "" if it is missing.
    action: str

    @classmethod
    def decode(cls, record: Record) -> "Entry | None":
        """Return the entry in *record*; None without a stream, number or time, or with a longer text.

        A text has at most `MAX_TEXT_LENGTH` characters. An entry is kept until the end of a verification, so
        it has no more than the service ever writes.
        """
        stream, seq, ts = record.get("stream"), record.get("seq"), record.get("ts")
        if not (is_text(stream) and is_text(ts) and isinstance(seq, int) and seq >= 0):
            return None
        if any(len(str(record.get(name, ""))) > MAX_TEXT_LENGTH for name in _KEPT):
            return None
        digest, previous_ts = record.get("hash"), record.get("previous_ts")
        try:
            link = audit_chain.link(record)
            flaw = None if digest == audit_chain.digest(record) else _ALTERED
            replaces = _predecessors(record["replaces"], ts) if "replaces" in record else _NONE
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            link, flaw, replaces = "", FOREIGN, _NONE
        if not is_text(digest):
            # The reader removes the hash of an entry that is stored in another form.
            flaw = FOREIGN
        return cls(
            stream,
            seq,
            ts,
            str(record.get("previous")),
            previous_ts if is_text(previous_ts) else "",
            str(digest),
            link,
            "signature" in record,
            str(record.get("signer")),
            record.get("signature"),
            flaw,
            replaces,
            shown(record.get("action")),
        )

    @property
    def place(self) -> Place:
        """Its stream and number."""
        return self.stream, self.seq

    def broken_link(self, last: "Entry") -> str | None:
        """Return the reason why it does not follow *last*; None if it does."""
        if self.previous != last.link:
            return "does not follow the entry before it, which was altered or replaced"
        if not self.flaw and (self.previous_ts != last.ts or self.ts < last.ts):
            return "does not match the time of the entry before it"
        return None

    def finding(
        self, text: str, kind: Gravity = Gravity.TAMPERING, *, unknown_signer: str = "", is_gap: bool = False
    ) -> Finding:
        """Return a finding about it."""
        about = (shown(self.ts), self.action)
        return Finding(self.stream, self.seq, text, kind, unknown_signer, is_gap, *about)


def shown(value: object) -> str:
    """Return the time or action *value* of a record for a finding; "" if it is not a text."""
    return value[:_MAX_SHOWN_LENGTH] if is_text(value) else ""


_NONE: Mapping[str, Predecessor] = MappingProxyType({})


def _predecessors(replaces: Any, until: str) -> dict[str, Predecessor]:
    """Return the streams in *replaces*. Raise ValueError if it has more than the service writes."""
    _require_few(replaces, MAX_REPLACED)
    return {
        _text(replaced["stream"]): Predecessor(
            int(replaced["seq"]),
            _text(replaced.get("ts", "")),
            until=until,
            hashes=_hashes(replaced["hashes"]) if "hashes" in replaced else None,
        )
        for replaced in replaces
    }


def _hashes(hashes: Any) -> frozenset[str]:
    _require_few(hashes, MAX_ENTRIES_PER_COMMIT)
    return frozenset(map(_text, hashes))


def _require_few(values: Any, maximum: int) -> None:
    if len(values) > maximum:
        raise ValueError("more than the service writes")


def _text(value: object) -> str:
    if not is_text(value) or len(value) > MAX_TEXT_LENGTH:
        raise ValueError("not a text of the service's")
    return value
