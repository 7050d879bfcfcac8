"""Streams: one worker's chain of audit entries, and their identifiers.

An identifier consists of the entry's time in seconds (4 bytes), the beginning of its stream's random ID
(5 bytes) and its number in the stream (3 bytes). Within a stream, identifiers are in the order of the
numbers. The IDs of such streams begin with `2-`. In older streams, MongoDB's driver chose the last 8 bytes:
5 random bytes of the process, and a counter of everything that the process stored.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from vault.common.timestamps import to_milliseconds
from vault.core.attempt import Action
from vault.core.crypto import audit_chain
from vault.core.documents.audit import record_of

#: An entry in its stored form.
StoredEntry = dict[str, Any]

#: The maximum number of entries in a commit: of the largest batch, for each of 100 items and for their list.
MAX_ENTRIES_PER_COMMIT = 101

#: The maximum number of entries in a stream: in identifiers, further numbers would start at 0 again.
MAX_ENTRIES = 2**24

#: The maximum step back of a clock within a stream, whose times never decrease.
_MAX_CLOCK_STEP_BACK = timedelta(seconds=1)

#: The age of its last entry with which a stream ends. Other processes close a stream that is twice as old: so
#: they close none whose process may still write to it, and fail its next commit.
_MAX_IDLE = timedelta(hours=12)

#: The number of streams that a successor names of the first ones it replaces, and of the last ones. In an
#: outage, thousands of commits can fail. Only those at its two ends can leave unsigned entries, because
#: MongoDB became unavailable or returned halfway through them; in between, MongoDB stored nothing.
_REPLACED_AT_EITHER_END = 25
MAX_REPLACED = 2 * _REPLACED_AT_EITHER_END

#: The form of stream names in all versions. A stream with any other name is no head, and is never closed.
NAME = re.compile("[0-9a-f-]{1,64}")
_STREAM = re.compile(r"2-[0-9a-f]{30}")
_STREAM_BYTES = slice(4, 9)
_SEQ_BYTES = slice(9, 12)

#: The maximum difference between an identifier and the time of its entry in an older stream: the clock ran on
#: during the commit, or was slightly behind the entry before.
_MAX_OLDER_DIFFERENCE_SECONDS = 1

#: The maximum step of a process's counter between two consecutive entries of an older stream.
_MAX_OLDER_STEP = 2**16 - 1


class Stream:
    """The end of a chain, to which the next commit is added.

    It advances only after a successful commit. After a commit with an unknown outcome, the numbers of its
    entries may be in use: the chain ends there, and its `successor` continues.
    """

    def __init__(
        self, signing_key: audit_chain.SigningKey, *, replaces: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.id = new_stream_id()
        self._signing_key = signing_key
        self._replaces = replaces
        self._last: StoredEntry | None = None
        #: The hashes of a commit in progress, or of one that failed.
        self._attempted: list[str] = []

    @classmethod
    def resume(cls, signing_key: audit_chain.SigningKey, last: StoredEntry) -> "Stream":
        """Return the stream, of any process, that ends with the entry *last*."""
        stream = cls(signing_key)
        stream.id, stream._last = last["stream"], last
        return stream

    @property
    def is_open(self) -> bool:
        """True if it has entries, and no last one that closes it."""
        return self._last is not None and self._last.get("action") != Action.STREAM_CLOSED

    @property
    def head(self) -> dict[str, Any] | None:
        """The newest entry known to be stored, as evidence for later verification."""
        if self._last is None:
            return None
        names = ("stream", "seq", "ts", "hash", "signer", "signature")
        record = record_of(self._last)
        return {name: record[name] for name in names}

    def is_behind(self, now: datetime) -> bool:
        """Return whether the clock has stepped back too far for this stream to continue."""
        return self._last is not None and bool(now < self._last["ts"] - _MAX_CLOCK_STEP_BACK)

    def is_over(self, now: datetime) -> bool:
        """Return whether this stream is closed, or too old to be continued."""
        if self._last is None:
            return False
        return not self.is_open or bool(now > self._last["ts"] + _MAX_IDLE)

    def is_full(self, more: int) -> bool:
        """Return whether *more* entries are too many for this stream."""
        return self._last is not None and bool(self._last["seq"] + more >= MAX_ENTRIES)

    def chain(self, entries: Sequence[StoredEntry], now: datetime) -> None:
        """Number, date, link and hash *entries*, at least one, as the next of this stream; sign the last."""
        previous, now = self._last, to_milliseconds(now)
        for entry in entries:
            self._follow(entry, previous, now)
            previous = entry
        self._attempted = [entry["hash"] for entry in entries]
        entries[-1]["signer"] = self._signing_key.public.signer
        entries[-1]["signature"] = self._signing_key.sign(entries[-1]["hash"].encode())

    def _follow(self, entry: StoredEntry, previous: StoredEntry | None, now: datetime) -> None:
        if previous is not None:
            entry |= {
                "seq": previous["seq"] + 1,
                "ts": max(now, previous["ts"]),
                "previous": audit_chain.link(previous),
                "previous_ts": previous["ts"],
            }
        else:
            entry |= {"seq": 0, "ts": now}
            if self._replaces:
                entry["replaces"] = list(self._replaces)
        entry["_id"] = derive_entry_id(entry["ts"], self.id, entry["seq"])
        entry["stream"] = self.id
        entry["hash"] = audit_chain.digest(record_of(entry))

    def committed(self, last: StoredEntry) -> None:
        """Continue after *last*, which is known to be stored."""
        self._last = last
        self._attempted = []

    def successor(self) -> "Stream":
        """Return the stream that replaces this one.

        Its first entry records the end of this stream and the hashes of the commit that failed, if one did.
        Some of these entries can be stored; any other entry after the end is a forgery.
        """
        head = self.head
        attempted = {"hashes": self._attempted}
        if head is None:
            # The first commit failed, so no stored entry names the streams that this one replaces.
            replaced = [*self._replaces, {"stream": self.id, "seq": -1, **attempted}]
            if len(replaced) > MAX_REPLACED:
                del replaced[_REPLACED_AT_EITHER_END]
        else:
            replaced = [{**{name: head[name] for name in ("stream", "seq", "ts")}, **attempted}]
        return Stream(self._signing_key, replaces=replaced)


def is_closable(stream: str) -> bool:
    """Return whether another process can continue *stream*: in an older one, it would not know the IDs."""
    return bool(_STREAM.fullmatch(stream))


def new_stream_id() -> str:
    """Return the ID of a new stream."""
    return f"2-{secrets.token_bytes(15).hex()}"


def derive_entry_id(time: datetime, stream: str, seq: int) -> ObjectId:
    """Return the identifier of the entry with *time* and number *seq* in a *stream* of `new_stream_id`.

    The hash covers all three, so the entry cannot be inserted again under another identifier.
    """
    return ObjectId(_seconds(int(time.timestamp())) + _origin(stream, seq))


def first_entry_id(seconds: float) -> ObjectId:
    """Return the lowest identifier of the time *seconds* since 1970, or the nearest possible one."""
    return ObjectId(_seconds(min(max(int(seconds), 0), 2**32 - 1)) + bytes(8))


def writer_of(identifier: ObjectId) -> bytes:
    """Return the part that all identifiers of a stream, and of no other stream, have in common."""
    return identifier.binary[_STREAM_BYTES]


def entry_id_fits(document: Mapping[str, Any]) -> bool:
    """Return whether a stored entry, whose fields have the right types, has the right identifier."""
    identifier: ObjectId = document["_id"]
    time: datetime = document["ts"]
    stream: str = document["stream"]
    off = (identifier.generation_time - time.replace(microsecond=0)).total_seconds()
    if _STREAM.fullmatch(stream):
        return off == 0 and identifier.binary[4:] == _origin(stream, document["seq"])
    return abs(off) <= _MAX_OLDER_DIFFERENCE_SECONDS


def entry_id_follows(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether the identifier of an entry can follow the one of the entry *before* it in its stream."""
    if _STREAM.fullmatch(document["stream"]):
        return True
    mine, other = document["_id"], before["_id"]
    step = _counter_of(mine) - _counter_of(other)
    return writer_of(mine) == writer_of(other) and 0 < step % MAX_ENTRIES <= _MAX_OLDER_STEP


def _seconds(seconds: int) -> bytes:
    return seconds.to_bytes(4, "big")


def _origin(stream: str, seq: int) -> bytes:
    return bytes.fromhex(stream[2:12]) + (seq % MAX_ENTRIES).to_bytes(3, "big")


def _counter_of(identifier: ObjectId) -> int:
    return int.from_bytes(identifier.binary[_SEQ_BYTES], "big")
