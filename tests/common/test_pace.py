"""Long work on values runs in pieces."""

from collections.abc import Callable
from typing import Any

import pytest

from vault.common import kv_values, strict_json
from vault.common.errors import OverloadedError

#: At least 8 kB of JSON each, which takes long to decode or encode.
NUMBERS = b"[" + b"1," * 4_000 + b"1]"
FLOATS = b"[" + b"0.5," * 4_000 + b"1]"
LARGE = b"[" + b'{"a":1},' * 2_400 + b'"' + b"x" * 131_072 + b'"]'
SURROGATES = b"[" + b"1," * 4_000 + b'"\\ud83d\\ude00"]'


def encoded(text: bytes, pause: Callable[[], None]) -> bytes:
    return kv_values.encode(kv_values.decode(text), pause)


@pytest.mark.parametrize("work", [strict_json.decode, kv_values.decode, kv_values.restore, encoded])
@pytest.mark.parametrize("text", [FLOATS, LARGE, SURROGATES], ids=["floats", "large", "surrogates"])
def test_long_work_pauses(work: Callable[..., Any], text: bytes) -> None:
    """Decoding and encoding thousands of numbers or objects pauses repeatedly, with the same result."""
    pauses: list[None] = []
    kwargs = {"number": kv_values.Number.of} if work is strict_json.decode else {}
    done = work(text, pause=lambda: pauses.append(None), **kwargs)
    assert len(pauses) >= 2
    assert done == work(text, pause=list, **kwargs)


def test_short_work_does_not_pause() -> None:
    """A small value is decoded and encoded in one piece."""

    def refuse() -> None:
        raise AssertionError

    text = b'{"a":[1,2.5,{"b":null}]}'
    value = kv_values.decode(text, refuse)
    assert kv_values.encode(value, refuse) == text
    assert kv_values.restore(text, refuse) == value


@pytest.mark.parametrize("work", [kv_values.decode, kv_values.restore, encoded])
def test_a_pause_can_end_the_work(work: Callable[..., Any]) -> None:
    """An error of a pause ends the work, as it is."""

    def end() -> None:
        raise OverloadedError

    with pytest.raises(OverloadedError):
        work(NUMBERS, pause=end)


def test_work_in_a_pause_is_separate() -> None:
    """Two values can be decoded at the same time, each in the pauses of the other."""
    inner: list[Any] = []

    def decode_another() -> None:
        inner.append(kv_values.decode(FLOATS))

    assert kv_values.decode(NUMBERS, decode_another) == kv_values.decode(NUMBERS)
    assert inner
    assert all(value == kv_values.decode(FLOATS) for value in inner)


def test_an_encoded_value_is_spliced() -> None:
    """A value that is encoded already is a part of another as it is."""
    text = kv_values.Encoded('{"a":[1]}')
    assert kv_values.encode({"b": text, "a": None}) == b'{"a":null,"b":{"a":[1]}}'
