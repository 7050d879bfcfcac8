"""Unambiguous encodings of data to hash, sign, seal or authenticate."""

import json
from collections.abc import Mapping
from typing import Any

# One encoder for all: making one takes longer than encoding an entry.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return *record* as JSON in UTF-8: sorted keys, no white space, only the escapes that JSON requires.

    Raises:
        TypeError: It contains a value that JSON cannot represent.
        ValueError: As `TypeError`.
    """
    return _ENCODER.encode(record).encode()


def joined(*parts: bytes) -> bytes:
    """Return *parts* concatenated, each after its length: 4 bytes, big-endian."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])
