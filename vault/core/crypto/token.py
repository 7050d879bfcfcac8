"""The form of a token: `smt_`, 32 random characters and a checksum of 6 characters.

The checksum is the CRC-32 of the characters before it, in base62 with the most significant digit first. It is
not a secret and protects nothing. With it, scanners can distinguish a leaked token from similar text, and the
service can refuse a mistyped token without a look-up.
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
    """Return whether *text* has the form of a token and a correct checksum."""
    body = text[:-_CHECKSUM_CHARACTERS]
    return _FORM.fullmatch(text) is not None and text == body + _checksum(body)


def _checksum(body: str) -> str:
    rest = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
