"""JSON values with numbers as Vault returns them."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

from vault.common import strict_json
from vault.common.pace import Pace, Pause, never
from vault.common.strict_json import InvalidJSONError

#: An integer of up to this number of digits fits into a float.
_EXACT_DIGITS = 15

#: The absolute values of numbers that have no exponent.
_SMALLEST, _LARGEST = 1e-6, 1e21

#: The maximum nesting of a value.
MAX_DEPTH = 256

#: The escape of half of a character, which may be without its other half.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Encoded(str):
    """A JSON value as its canonical text, which `encode` takes as it is. Its `repr` does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} characters>"


class Number(Encoded):
    """A JSON number as its text, in the form of Vault, which reads every number as a 64-bit float.

    The shortest decimal that reads as the same float; without an exponent from 1e-6 to 1e21, as in RFC 8785.
    """

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> "Number":
        """Return the number that a client wrote as *text*.

        Raises:
            ValueError: It is too large for a float.
        """
        if len(text) <= _EXACT_DIGITS and text.isdigit():
            # Most numbers: a float has them exactly.
            return cls(text)
        value = float(text)
        if not isfinite(value):
            raise ValueError("a number is too large")
        shortest = repr(value)
        if value == 0 or _SMALLEST <= abs(value) < _LARGEST:
            if shortest == text and "e" not in text and not text.endswith(".0"):
                # Most others: they have this form already.
                return cls(text)
            return cls(format(Decimal(shortest), "f").removesuffix(".0"))
        return cls(shortest.replace("e-0", "e-"))


def decode(text: bytes, pause: Pause = never) -> Any:
    """Return the JSON value *text*, with each number as a `Number`; *pause* as `strict_json.decode`.

    Raises:
        InvalidJSONError: It is not JSON, readers could understand it differently, or it is nested too deeply.
        TooManyPartsError: It has too many values or fields.
    """
    value = strict_json.decode(text, Number.of, pause=pause)
    # At most as deep as it has opening brackets; strings can contain them too.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_deep(value, pause):
        raise InvalidJSONError("is nested too deeply")
    if _SURROGATE.search(text):
        _require_text(value, pause)
    return value


def restore(encoded: bytes, pause: Pause = never) -> Any:
    """Return the value that `encode` wrote; *pause* is called repeatedly meanwhile."""
    number = Pace(pause).of(Number)
    return json.JSONDecoder(parse_int=number, parse_float=number).decode(encoded.decode())


def encode(value: Any, pause: Pause = never) -> bytes:
    """Return *value* as canonical JSON: names in order, no spaces, and each `Encoded` as its text.

    Unless it is small, *pause* is called repeatedly meanwhile.
    """
    parts: list[str] = []
    _write(value, parts.append, Pace(pause))
    return "".join(parts).encode()


def _is_deep(value: Any, pause: Pause) -> bool:
    level, pace = [value], Pace(pause)
    for _ in range(MAX_DEPTH + 1):
        pace.advance(len(level))
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _require_text(value: Any, pause: Pause) -> None:
    try:
        encode(value, pause)
    except UnicodeEncodeError:
        raise InvalidJSONError("has half of a surrogate pair, which is not text") from None


#: Texts of what is in every envelope, for which the encoder takes ten times as long.
_CONSTANTS = {None: "null", False: "false", True: "true"}

#: Returns a text or number as JSON.
_scalar = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _write(value: Any, write: Callable[[str], None], pace: Pace) -> None:
    pace.advance()
    # Most values first.
    if isinstance(value, str):
        write(value if isinstance(value, Encoded) else _scalar(value))
    elif value is None or isinstance(value, bool):
        write(_CONSTANTS[value])
    elif isinstance(value, dict):
        write("{")
        for number, name in enumerate(sorted(value)):
            write(f",{_scalar(name)}:" if number else f"{_scalar(name)}:")
            _write(value[name], write, pace)
        write("}")
    elif isinstance(value, list | tuple):
        write("[")
        for number, inner in enumerate(value):
            if number:
                write(",")
            _write(inner, write, pace)
        write("]")
    else:
        write(_scalar(value))
