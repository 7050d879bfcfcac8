"""What is hashed, signed, sealed or authenticated has one form, and no other thing has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vault.crypto.encoding import canonical, joined

PARTS = some.lists(some.binary(max_size=3), max_size=4)


@given(PARTS, PARTS)
def test_parts_that_differ_are_joined_to_different_bytes(one: list[bytes], other: list[bytes]) -> None:
    """Wherever the borders between parts are, they count."""
    assert (joined(*one) == joined(*other)) == (one == other)


def test_an_object_has_one_form() -> None:
    """The order of names does not matter, and nothing is in the form that JSON does not ask for."""
    assert canonical({"b": [1, "ß\n"], "a": None}) == '{"a":null,"b":[1,"ß\\n"]}'.encode()
    assert canonical({"a": None, "b": [1, "ß\n"]}) == canonical({"b": [1, "ß\n"], "a": None})


@pytest.mark.parametrize(
    ("value", "error"), [(b"bytes", TypeError), (float("nan"), ValueError), ("\ud800", ValueError)]
)
def test_what_json_cannot_say_has_no_form(value: object, error: type[Exception]) -> None:
    """It is an error, and nothing stands in for it."""
    with pytest.raises(error):
        canonical({"value": value})
