"""What a token looks like: `smt_`, 32 random characters, and a checksum of 6.

The checksum is the CRC-32 of what stands before it, in base62 with the most significant digit first. It is
no secret and protects nothing: it lets scanners tell a leaked token from a chance likeness, and the service
refuse a mistyped one without a look-up.
"""

import re
import secrets
import string
import zlib

PREFIX = "smt_"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
#: 190 bits.
_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6
_FORM = re.compile(f"{PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS}}}")


def new_token() -> str:
    """Return a new token."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_token(text: str) -> bool:
    """Return whether *text* has a token's form and its checksum is right."""
    body = text[:-_CHECKSUM_CHARACTERS]
    return _FORM.fullmatch(text) is not None and text == body + _checksum(body)


def _checksum(body: str) -> str:
    rest = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
