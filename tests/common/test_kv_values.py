"""JSON values with numbers as Vault returns them."""

import pytest

from vault.common import kv_values
from vault.common.kv_values import MAX_DEPTH
from vault.common.strict_json import InvalidJSONError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{ "b" : 1, "a": [ true, null, "ü" ] }', '{"a":[true,null,"ü"],"b":1}'),
        ("9007199254740993", "9007199254740992"),
        ("1.10", "1.1"),
        ("1E5", "100000"),
        ("-0.0", "-0"),
        ("1e-7", "1e-7"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        ('"\\ud83d\\ude00"', '"😀"'),
    ],
)
def test_a_value_has_one_form(text: str, canonical: str) -> None:
    """Names are in order, and numbers are the shortest text of the same 64-bit float."""
    encoded = kv_values.encode(kv_values.decode(text.encode()))
    assert encoded.decode() == canonical
    assert kv_values.encode(kv_values.restore(encoded)) == encoded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1e400", "is malformed JSON"),
        ('"\\ud83d"', "has half of a surrogate pair, which is not text"),
        ("[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1), "is nested too deeply"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "is nested too deeply"),
    ],
)
def test_a_value_that_vault_cannot_have_is_refused(text: str, reason: str) -> None:
    """The reason is not part of the text."""
    with pytest.raises(InvalidJSONError) as caught:
        kv_values.decode(text.encode())
    assert str(caught.value) == reason


def test_brackets_in_texts_are_no_depth() -> None:
    """A value with many brackets can be flat, or as deep as the limit."""
    flat = b'["' + b"[" * 1_000 + b'"]'
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    for text in (flat, b"[" + b"{}," * 300 + b"{}]", deepest):
        assert kv_values.encode(kv_values.decode(text)) == text
