"""The format of tokens."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core.crypto.token import is_token, new_token

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "token-1.json").read_text()
)
ACCESS = (Path(__file__).parents[3] / "docs" / "access.md").read_text()


def base62(text: str) -> int:
    number = 0
    for digit in text:
        number = number * 62 + ALPHABET.index(digit)
    return number


def test_new_tokens_are_valid_and_differ() -> None:
    """Each new token has the documented form and checksum, and its own random part."""
    tokens = {new_token() for _ in range(500)}
    assert len({token[4:36] for token in tokens}) == 500
    for token in tokens:
        assert is_token(token)
        assert base62(token[36:]) == zlib.crc32(token[:36].encode())


def test_every_character_occurs() -> None:
    """The random part uses the whole alphabet: 32 characters of 62 are 190 bits."""
    assert set("".join(new_token()[4:36] for _ in range(500))) == set(ALPHABET)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_issued_tokens_stay_valid(vector: dict[str, Any]) -> None:
    """The form of tokens is permanent."""
    assert is_token(vector["token"])


def test_scanners_find_tokens() -> None:
    """The regular expression in docs/access.md finds a token in a text, and only tokens."""
    [expression] = re.findall(r"`(\\bsmt_\S+)`", ACCESS)
    token = new_token()
    assert re.findall(expression, f"curl -H 'Authorization: Bearer {token}' … smt_short") == [token]


@given(st.integers(0, 41), st.characters(categories=("L", "N", "P", "S", "Z", "C")))
def test_a_mistyped_token_is_invalid(position: int, character: str) -> None:
    """Another character anywhere in a token breaks its checksum or its form."""
    token = VECTORS[0]["token"]
    mistyped = token[:position] + character + token[position + 1 :]
    assert is_token(mistyped) == (mistyped == token)


@given(st.text() | st.from_regex(r"smt_[0-9A-Za-z]{36,40}\n?", fullmatch=True))
def test_random_text_is_no_token(text: str) -> None:
    """Random text is never a valid token."""
    assert not is_token(text)
