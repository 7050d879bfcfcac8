"""Formats of text: terminals, JSON."""

import json

import pytest

from vault.common.text import is_blank, is_shown, printable, quantity, unique_names


def test_control_characters_are_escaped() -> None:
    """Text from a database cannot move a terminal's cursor or reorder its characters."""
    assert printable("Straße\x1b[2J\n\u202e") == "Straße\\u001b[2J\\u000a\\u202e"


@pytest.mark.parametrize(
    ("text", "expected"), [("one\n\ttwo ü\n", True), ("\x1b[2J", False), ("a\rb", False), ("\u202e", False)]
)
def test_text_that_could_change_a_terminal_is_known(text: str, expected: bool) -> None:
    """A terminal shows lines of printable characters and tabs as they are, and nothing else."""
    assert is_shown(text) is expected


@pytest.mark.parametrize(
    "text",
    ["", " \t\u3000", "\u2800", "\u3164", "\u200b\u200d\u2060", "\u115f \ufe0f", "\U000e0020", "\U00013441"],
)
def test_text_without_a_visible_character_is_blank(text: str) -> None:
    """Spaces, zero-width characters, fillers and blank symbols show nothing, however many there are."""
    assert is_blank(text)


@pytest.mark.parametrize("text", ["x", " INC-7 ", "\u3164a", "ü", "密", "👍\ufe0f"])
def test_text_with_a_visible_character_is_not_blank(text: str) -> None:
    """One visible character suffices."""
    assert not is_blank(text)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")])
def test_a_quantity_has_the_right_plural(number: int, expected: str) -> None:
    """The noun is singular for 1 only."""
    assert quantity(number, "entry", "entries") == expected


def test_a_regular_plural_needs_no_second_form() -> None:
    """Most nouns get an "s"."""
    assert (quantity(1, "token"), quantity(2, "token")) == ("1 token", "2 tokens")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "\\u0061": 2}}]'])
def test_a_duplicate_name_is_refused(text: str) -> None:
    """A duplicate name is an error at any depth and in any spelling."""
    with pytest.raises(ValueError, match="a name occurs twice"):
        json.loads(text, object_pairs_hook=unique_names)


def test_an_object_with_distinct_names_keeps_them_in_order() -> None:
    """Every other object is read as usual."""
    pairs = json.loads('{"b": 1, "a": {"b": 2}}', object_pairs_hook=unique_names)
    assert list(pairs.items()) == [("b", 1), ("a", {"b": 2})]
