"""JSON values with numbers as Vault returns them."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

from vault.core import strict_json
from vault.core.strict_json import InvalidJSONError

#: An integer of up to this number of digits fits into a float.
_EXACT_DIGITS = 15

#: The absolute values of numbers that have no exponent.
_SMALLEST, _LARGEST = 1e-6, 1e21

#: The maximum nesting of a value.
MAX_DEPTH = 256

#: The escape of half of a character, which may be without its other half.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Number(str):
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
            return cls(format(Decimal(shortest), "f").removesuffix(".0"))
        return cls(shortest.replace("e-0", "e-"))


_OWN = json.JSONDecoder(parse_int=Number, parse_float=Number)


def decode(text: bytes) -> Any:
    """Return the JSON value *text*, with each number as a `Number`.

    Raises:
        InvalidJSONError: It is not JSON, readers could understand it differently, or it is nested too deeply.
        TooManyPartsError: It has too many values or fields.
    """
    value = strict_json.decode(text, Number.of)
    # At most as deep as it has opening brackets; strings can contain them too.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise InvalidJSONError("is nested too deeply")
    if _SURROGATE.search(text):
        _require_text(value)
    return value


def restore(encoded: bytes) -> Any:
    """Return the value that `encode` wrote."""
    return _OWN.decode(encoded.decode())


def encode(value: Any) -> bytes:
    """Return *value* as canonical JSON: names in order, no spaces, and each `Number` as its text."""
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts).encode()


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _require_text(value: Any) -> None:
    try:
        encode(value)
    except UnicodeEncodeError:
        raise InvalidJSONError("has half of a surrogate pair, which is not text") from None


#: Returns a text, number, truth value or null as JSON.
_scalar = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _write(value: Any, write: Callable[[str], None]) -> None:
    if isinstance(value, Number):
        write(str(value))
    elif isinstance(value, dict):
        write("{")
        for number, name in enumerate(sorted(value)):
            write(("," if number else "") + _scalar(name) + ":")
            _write(value[name], write)
        write("}")
    elif isinstance(value, list | tuple):
        write("[")
        for number, inner in enumerate(value):
            if number:
                write(",")
            _write(inner, write)
        write("]")
    else:
        write(_scalar(value))
