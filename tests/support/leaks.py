"""Search for marked secrets in all outputs of the service, including partial and encoded ones."""

import json
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

#: The name of the secret, which is marked, and its values. No form of one can be mistaken for a name.
NAME = f"billing/{secrets.token_hex(12)}"
VALUE = f"a value § /+?{secrets.token_hex(12)}!\n".encode()
OTHER_VALUE = secrets.token_bytes(24)
LABEL = secrets.token_hex(12)
PASSWORD = secrets.token_urlsafe(18)

#: Characters of a mark that are a leak: in a form about as long as the mark, and in a longer one, in which
#: the same number of characters reveals less.
SHORT, LONG = 12, 30
#: Characters of a block of text: wherever a part of at least `SHORT` characters begins, it has a whole block.
_BLOCK = SHORT // 2


def b64(value: bytes) -> str:
    return b64encode(value).decode()


def _aligned(encode: Callable[[bytes], bytes], secret: bytes) -> Iterator[str]:
    """Yield the base64 forms of *secret* within longer text, for each alignment."""
    for before in range(3):
        whole = encode(b"\0" * before + secret).decode()
        # The first characters, and the last, contain bits of the surrounding text.
        yield whole[-(-before * 4 // 3) :].rstrip("=")[:-1]


def forms(secret: bytes) -> set[str]:
    """Return the forms of *secret*: plain, in base64, in hexadecimal, in a URL, in JSON and in Python."""
    text = secret.decode("latin-1")
    found = {text, repr(secret)[2:-1], repr(text)[1:-1], json.dumps(text)[1:-1]}
    found |= {secret.hex(), secret.hex().upper()}
    found |= {quote(secret, safe=""), quote(secret, safe="").lower(), quote(secret), quote_plus(secret)}
    found |= {"".join(f"%{byte:02x}" for byte in secret), "".join(f"%{byte:02X}" for byte in secret)}
    found |= {*_aligned(b64encode, secret), *_aligned(urlsafe_b64encode, secret)}
    try:
        unicode = secret.decode()
    except UnicodeDecodeError:
        return found
    return found | {unicode, repr(unicode)[1:-1], json.dumps(unicode)[1:-1]}


@dataclass(frozen=True)
class Output:
    """An output, and the marks that it must contain, or may."""

    place: str
    text: str
    may_hold: frozenset[str] = frozenset()


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


class LeakError(pytest.fail.Exception):
    """A forbidden occurrence of a secret; reported without a traceback, whose arguments contain it."""


class Marks:
    """Secrets by name."""

    def __init__(self, **secrets: bytes | str) -> None:
        self._pieces: dict[str, str] = {}
        self._blocks: set[str] = set()
        for name, secret in secrets.items():
            self.add(name, secret)

    def add(self, name: str, secret: bytes | str) -> None:
        """Search for *secret*, too, as *name*."""
        raw = secret.encode() if isinstance(secret, str) else secret
        for form in forms(raw):
            size = SHORT if len(form) < 1.5 * len(raw) else LONG
            if len(form) < size:
                raise ValueError(f"{name} is too short to be distinctive")
            self._pieces.update(dict.fromkeys(_pieces(form, size), name))
            self._blocks.update(_pieces(form, _BLOCK))

    def found(self, text: str) -> set[str]:
        """Return the names of the secrets of which *text* contains a part."""
        # Almost all text is ruled out block by block, in a tenth of the time.
        return {
            name
            for start in range(0, len(text), _BLOCK)
            if text[start : start + _BLOCK] in self._blocks
            for name in self._found_near(text[max(0, start - LONG) : start + LONG])
        }

    def _found_near(self, text: str) -> set[str]:
        pieces = chain(_pieces(text, SHORT), _pieces(text, LONG))
        return {self._pieces[piece] for piece in pieces if piece in self._pieces}

    def leaks(self, outputs: list[Output]) -> set[tuple[str, str]]:
        """Return each forbidden occurrence: the output and the secret."""
        return {
            (output.place, name) for output in outputs for name in self.found(output.text) - output.may_hold
        }

    def refuse_leaks(self, outputs: list[Output]) -> None:
        """Fail if there is any leak, with the number of leaks and the first one, without its value."""
        leaks = sorted(self.leaks(outputs))
        if not leaks:
            return
        places, names = (len(set(which)) for which in zip(*leaks, strict=True))
        place, name = leaks[0]
        raise LeakError(
            f"leaks: {len(leaks)} (secrets: {names}, outputs: {places}). The first: {name} in {place}. "
            "If that is none, see RETURNED in leaks_world.py, or in tables.py of a feature's tests",
            pytrace=False,
        )


def _is_ours(thing: object) -> bool:
    # Not by `isinstance`: for a proxy that would resolve its target.
    return str(type(thing).__module__).partition(".")[0] == "vault"


def shown(*things: Any) -> str:
    """Return the `repr`s of those of *things* that are this package's own."""
    return " ".join(repr(thing) for thing in things if _is_ours(thing))
