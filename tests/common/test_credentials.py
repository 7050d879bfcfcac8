"""Credentials in texts: recognised by their form."""

import pytest

from vault.common.credentials import has_token, masked, without_tokens
from vault.core.crypto.token import new_token
from vault.core.secrets.wrapping import WrappingToken


@pytest.mark.parametrize("token", [new_token(), WrappingToken.new().text], ids=["token", "wrapping token"])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("team/", "/db"), ("x_", "x"), ("ü ", "\n")])
def test_a_token_is_found_in_every_place(token: str, before: str, after: str) -> None:
    """A new token of each kind is recognised wherever it is, and no part of it is left."""
    text = before + token + after
    assert has_token(text)
    for remaining in (without_tokens(text), masked(text)):
        assert remaining.startswith(f"{before}…")
        assert token[-20:] not in remaining


@pytest.mark.parametrize(
    "text", ["smt_production", "smt_" + "a" * 37, "smw_" + "a" * 42, "SMT_" + "a" * 38, ""]
)
def test_other_names_are_not_tokens(text: str) -> None:
    """A name that only begins like a token is a name."""
    assert not has_token(text)
    assert without_tokens(text) == text
