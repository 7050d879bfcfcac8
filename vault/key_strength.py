"""The strength of master keys, as far as their bytes show it. No message quotes a key."""

import re

#: Of 32 random bytes, about 30 are distinct; 16 or fewer never happens.
_MIN_DISTINCT_BYTES = 5
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{32}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{30}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)")


def is_trivial(key: bytes) -> bool:
    """Return whether anyone can guess *key*: it consists of very few distinct bytes."""
    return len(set(key)) < _MIN_DISTINCT_BYTES


def weakness(key: bytes) -> str:
    """Return what makes *key* easier to guess than 32 random bytes; empty if nothing shows."""
    if is_trivial(key):
        return "consists of very few distinct bytes; anyone can guess it"
    if _HEXADECIMAL.fullmatch(key):
        return "is 32 hexadecimal digits taken as the key itself, which is 128 bits at most, not 256"
    if _BASE64.fullmatch(key):
        return "is the base64 of 24 bytes taken as the key itself, which is 192 bits at most, not 256"
    return ""
