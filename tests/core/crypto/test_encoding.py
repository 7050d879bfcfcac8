"""Each hashed, signed, sealed or authenticated value has exactly one encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vault.core.crypto.encoding import canonical, joined

PARTS = some.lists(some.binary(max_size=3), max_size=4)


@given(PARTS, PARTS)
def test_different_parts_are_joined_to_different_bytes(one: list[bytes], other: list[bytes]) -> None:
    """The boundaries between parts change the encoding."""
    assert (joined(*one) == joined(*other)) == (one == other)


def test_an_object_has_one_form() -> None:
    """The order of names does not matter, and the form has no optional characters."""
    assert canonical({"b": [1, "ß\n"], "a": None}) == '{"a":null,"b":[1,"ß\\n"]}'.encode()
    assert canonical({"a": None, "b": [1, "ß\n"]}) == canonical({"b": [1, "ß\n"], "a": None})


@pytest.mark.parametrize(
    ("value", "error"), [(b"bytes", TypeError), (float("nan"), ValueError), ("\ud800", ValueError)]
)
def test_a_value_without_a_json_form_is_an_error(value: object, error: type[Exception]) -> None:
    """A value that JSON cannot represent is an error, and nothing replaces it."""
    with pytest.raises(error):
        canonical({"value": value})
