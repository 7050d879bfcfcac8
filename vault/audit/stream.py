"""One worker's chain of audit entries, and the identifiers of these.

An identifier is the second of the entry's time (4 bytes), the beginning of its stream's random id (5 bytes)
and its number in the stream (3 bytes). Within one stream identifiers follow the numbers. Streams of this
kind have `2-` before their random id. In older streams, the last 8 bytes are MongoDB's own: 5 random ones of
the process, and a counter for all that the process stores.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from vault.core.timestamps import to_milliseconds
from vault.crypto import chain
from vault.documents.audit import record_of

#: Entries that one commit has at the most.
MAX_ENTRIES_PER_COMMIT = 100


#: The number of entries after which a stream ends: further numbers would begin again at 0 in the identifier.
MAX_ENTRIES = 2**24

_STREAM = re.compile(r"2-[0-9a-f]{30}")
_STREAM_BYTES = slice(4, 9)
_SEQ_BYTES = slice(9, 12)

#: Seconds by which MongoDB's own identifier may differ from the time of an entry in an older stream: the
#: clock went on during the commit, or was slightly behind the entry before.
_OLDER_SECONDS = 1

#: The largest step of a process's counter between two consecutive entries of an older stream.
_OLDER_STEP = 2**16


def new_stream_id() -> str:
    """Return the id of a new stream."""
    return f"2-{secrets.token_bytes(15).hex()}"


def derive_entry_id(time: datetime, stream: str, seq: int) -> ObjectId:
    """Return the identifier of the entry with this *time* and number in a *stream* of `new_stream`."""
    return ObjectId(_seconds(int(time.timestamp())) + _origin(stream, seq))


def first_entry_id(seconds: float) -> ObjectId:
    """Return the lowest identifier of a time in *seconds* since 1970, or the nearest that there is."""
    return ObjectId(_seconds(min(max(int(seconds), 0), 2**32 - 1)) + bytes(8))


def writer_of(identifier: ObjectId) -> bytes:
    """Return what the identifiers of one stream have in common; no other stream has it."""
    return identifier.binary[_STREAM_BYTES]


def entry_id_fits(document: Mapping[str, Any]) -> bool:
    """Return whether a stored entry, whose fields have the right types, has the identifier of its place."""
    identifier: ObjectId = document["_id"]
    time: datetime = document["ts"]
    stream: str = document["stream"]
    off = (identifier.generation_time - time.replace(microsecond=0)).total_seconds()
    if _STREAM.fullmatch(stream):
        return off == 0 and identifier.binary[4:] == _origin(stream, document["seq"])
    return abs(off) <= _OLDER_SECONDS


def entry_id_follows(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether the identifier of an entry can come after that of the one *before* it in its stream."""
    if _STREAM.fullmatch(document["stream"]):
        return True
    mine, other = document["_id"], before["_id"]
    step = _counter_of(mine) - _counter_of(other)
    return writer_of(mine) == writer_of(other) and 0 < step % MAX_ENTRIES < _OLDER_STEP


def _seconds(seconds: int) -> bytes:
    return seconds.to_bytes(4, "big")


def _origin(stream: str, seq: int) -> bytes:
    return bytes.fromhex(stream[2:12]) + (seq % MAX_ENTRIES).to_bytes(3, "big")


def _counter_of(identifier: ObjectId) -> int:
    return int.from_bytes(identifier.binary[_SEQ_BYTES], "big")


#: How far a clock may step back before a stream ends: within one stream time does not run backwards.
_CLOCK_SLACK = timedelta(seconds=1)

#: How many streams a successor names of the first that it replaces, and how many of the last. In an outage
#: commits can fail by the thousand. Those that left entries unsigned were cut off halfway by MongoDB's going
#: or by its coming back, at the one end of the outage or at the other; between, it took nothing.
_REPLACED_AT_EITHER_END = 25

#: An entry in its stored form.
Entry = dict[str, Any]


class Stream:
    """Where one chain stands: what the next entry follows.

    It moves on only when a commit succeeded. After a commit whose outcome is not known the numbers that
    it used may be taken, so the chain ends there and `successor` is what goes on.
    """

    def __init__(self, signing_key: chain.SigningKey, *, replaces: Sequence[dict[str, Any]] = ()) -> None:
        self.id = new_stream_id()
        self._signing_key = signing_key
        self._replaces = replaces
        self._last: Entry | None = None
        #: The hashes of a commit that is under way, or that failed.
        self._attempted: list[str] = []

    @property
    def head(self) -> dict[str, Any] | None:
        """The newest entry that is known to be stored, as it can be held against the trail later."""
        if self._last is None:
            return None
        names = ("stream", "seq", "ts", "hash", "signer", "signature")
        record = record_of(self._last)
        return {name: record[name] for name in names}

    def is_behind(self, now: datetime) -> bool:
        """Return whether the clock has stepped back too far for this stream to go on."""
        return self._last is not None and bool(now < self._last["ts"] - _CLOCK_SLACK)

    def is_full(self, more: int) -> bool:
        """Return whether *more* entries are too many for this stream to go on."""
        return self._last is not None and bool(self._last["seq"] + more >= MAX_ENTRIES)

    def chain(self, entries: Sequence[Entry], now: datetime) -> None:
        """Number, time, link and hash *entries*, at least one, as the next of this stream; sign the last."""
        previous = self._last
        for entry in entries:
            self._follow(entry, previous, to_milliseconds(now))
            previous = entry
        self._attempted = [entry["hash"] for entry in entries]
        entries[-1]["signer"] = self._signing_key.public.signer
        entries[-1]["signature"] = self._signing_key.sign(entries[-1]["hash"].encode())

    def _follow(self, entry: Entry, previous: Entry | None, now: datetime) -> None:
        if previous is not None:
            entry |= {
                "seq": previous["seq"] + 1,
                "ts": max(now, previous["ts"]),
                "previous": chain.link(previous),
                "previous_ts": previous["ts"],
            }
        else:
            entry |= {"seq": 0, "ts": now}
            if self._replaces:
                entry["replaces"] = list(self._replaces)
        entry["_id"] = derive_entry_id(entry["ts"], self.id, entry["seq"])
        entry["stream"] = self.id
        entry["hash"] = chain.digest(record_of(entry))

    def committed(self, last: Entry) -> None:
        """Go on from *last*, which is known to be stored."""
        self._last = last
        self._attempted = []

    def successor(self) -> "Stream":
        """Return the stream that takes over.

        Its first entry records the end of this one, and the hashes of the commit that failed, if one did.
        Some of these entries can be stored; anything else behind the end is a forgery.
        """
        head = self.head
        attempted = {"hashes": self._attempted}
        if head is None:
            # The first commit failed, so nobody has been told yet of those that this stream replaces.
            left = [*self._replaces, {"stream": self.id, "seq": -1, **attempted}]
            if len(left) > 2 * _REPLACED_AT_EITHER_END:
                del left[_REPLACED_AT_EITHER_END]
        else:
            left = [{**{name: head[name] for name in ("stream", "seq", "ts")}, **attempted}]
        return Stream(self._signing_key, replaces=left)
