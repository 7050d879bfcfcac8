"""What is hashed, signed, sealed or authenticated, as bytes: no two things ever have the same."""

import json
from collections.abc import Mapping
from typing import Any

# One encoder for all: making one takes longer than encoding an entry.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return *record* as JSON: sorted keys, no white space, no escapes but those JSON requires, in UTF-8.

    Raises:
        TypeError: It holds something that JSON has no form for.
        ValueError: The same.
    """
    return _ENCODER.encode(record).encode()


def joined(*parts: bytes) -> bytes:
    """Return *parts* one behind the other, each behind its length: 4 bytes, big-endian."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
