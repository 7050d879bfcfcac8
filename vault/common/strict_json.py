"""Strict reading of JSON: in bounded memory, without anything that readers understand differently."""

import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NoReturn

from vault.common.pace import Pace, Pause, never
from vault.common.text import RepeatedNameError, unique_names

#: The size up to which a text is decoded in one piece.
_SMALL_BYTES = 4_096

#: The size from which a text is checked for more values and fields than a valid one has. In memory, a value
#: of two bytes can take a hundred, and validating a field takes longer than reading it.
LARGE_BYTES = 131_072

#: The maximum number of values and of fields. Values are counted by their separators, so a valid text can
#: seem to have many: 100 items can have 4 labels each, of 512 commas.
_MAX_VALUES = 250_000
MAX_FIELDS = 2_500


class InvalidJSONError(ValueError):
    """A text is not JSON, or readers could understand it differently; the message says so, without it."""

    def __init__(self, message: str, *, repeated: str = "") -> None:
        super().__init__(message)
        #: The name that an object has twice; empty if that is not the reason.
        self.repeated = repeated


class TooManyPartsError(ValueError):
    """A text has too many values or fields."""


def decode(
    text: bytes,
    number: Callable[[str], Any] | None = None,
    *,
    pause: Pause = never,
    is_own: bool = False,
    max_fields: int = MAX_FIELDS,
) -> Any:
    """Return the decoded JSON *text*; *number* makes the value of a number from its text.

    Unless it is small, *pause* is called repeatedly meanwhile.
    A text that *is_own*, from this user, is limited only in its size.

    Raises:
        InvalidJSONError: It is not JSON, or readers could understand it differently.
        TooManyPartsError: It has too many values or fields.
    """
    try:
        decoder = _small_decoder(number) if is_own else _decoder(text, number, pause, max_fields)
        return decoder.decode(text.decode())
    except TooManyPartsError:
        raise
    except json.JSONDecodeError as error:
        raise InvalidJSONError(f"is malformed JSON at line {error.lineno}, column {error.colno}") from None
    except RepeatedNameError as error:
        raise InvalidJSONError("is malformed JSON", repeated=error.name) from None
    except (ValueError, RecursionError):
        # Not UTF-8, NaN or Infinity, a number too long, or nested too deeply.
        raise InvalidJSONError("is malformed JSON") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


#: Returns the object of its pairs.
_Pairs = Callable[[Sequence[tuple[str, Any]]], dict[str, Any]]


def _new_decoder(pairs: _Pairs, number: Callable[[str], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=_refuse_constant
    )


# Shared: creating a decoder takes longer than decoding a body.
_small_decoder = cache(partial(_new_decoder, unique_names))


def _decoder(
    text: bytes, number: Callable[[str], Any] | None, pause: Pause, max_fields: int
) -> json.JSONDecoder:
    """Return the decoder for *text*; raise `TooManyPartsError` if it has too many values."""
    if len(text) <= LARGE_BYTES:
        return _small_decoder(number) if len(text) <= _SMALL_BYTES else _paced(unique_names, number, pause)
    # One of these characters precedes each value except the first. Strings can contain them too.
    count = 0
    for separator in (b",", b"[", b"{"):
        count += text.count(separator)
        if count > _MAX_VALUES:
            raise TooManyPartsError("has too many values")
    return _paced(_FewFields(max_fields), number, pause)


def _paced(pairs: _Pairs, number: Callable[[str], Any] | None, pause: Pause) -> json.JSONDecoder:
    """Return a new decoder: one that others use at the same time must not pause."""
    pace = Pace(pause)
    return _new_decoder(pace.of(pairs), number and pace.of(number))


class _FewFields:
    """Counts the fields of all objects in a text."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._count = 0

    def __call__(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object of *pairs*; raise `TooManyPartsError` if all have too many fields together."""
        self._count += len(pairs)
        if self._count > self._maximum:
            raise TooManyPartsError("has too many fields")
        return unique_names(pairs)
