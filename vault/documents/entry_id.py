"""Identifiers of audit entries: derived from what the hash of an entry covers, so that pages have one order.

An identifier is the second of the entry's time (4 bytes), the beginning of its stream's random id (5 bytes)
and its number in the stream (3 bytes). Within one stream identifiers follow the numbers. Streams of this
kind have `2-` before their random id. In older streams, the last 8 bytes are MongoDB's own: 5 random ones of
the process, and a counter for all that the process stores.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId

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


def new_stream() -> str:
    """Return the id of a new stream."""
    return f"2-{secrets.token_bytes(15).hex()}"


def derive(time: datetime, stream: str, seq: int) -> ObjectId:
    """Return the identifier of the entry with this *time* and number in a *stream* of `new_stream`."""
    return ObjectId(_seconds(int(time.timestamp())) + _origin(stream, seq))


def first_at(seconds: float) -> ObjectId:
    """Return the lowest identifier of a time in *seconds* since 1970, or the nearest that there is."""
    return ObjectId(_seconds(min(max(int(seconds), 0), 2**32 - 1)) + bytes(8))


def writer(identifier: ObjectId) -> bytes:
    """Return what the identifiers of one stream have in common; no other stream has it."""
    return identifier.binary[_STREAM_BYTES]


def fits(document: Mapping[str, Any]) -> bool:
    """Return whether a stored entry, whose fields have the right types, has the identifier of its place."""
    identifier: ObjectId = document["_id"]
    time: datetime = document["ts"]
    stream: str = document["stream"]
    off = (identifier.generation_time - time.replace(microsecond=0)).total_seconds()
    if _STREAM.fullmatch(stream):
        return off == 0 and identifier.binary[4:] == _origin(stream, document["seq"])
    return abs(off) <= _OLDER_SECONDS


def follows(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether the identifier of an entry can come after that of the one *before* it in its stream."""
    if _STREAM.fullmatch(document["stream"]):
        return True
    mine, other = document["_id"], before["_id"]
    step = _counter(mine) - _counter(other)
    return writer(mine) == writer(other) and 0 < step % MAX_ENTRIES < _OLDER_STEP


def _seconds(seconds: int) -> bytes:
    return seconds.to_bytes(4, "big")


def _origin(stream: str, seq: int) -> bytes:
    return bytes.fromhex(stream[2:12]) + (seq % MAX_ENTRIES).to_bytes(3, "big")


def _counter(identifier: ObjectId) -> int:
    return int.from_bytes(identifier.binary[_SEQ_BYTES], "big")
