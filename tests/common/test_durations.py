"""Durations as texts."""

from datetime import timedelta

import pytest

from vault.common.durations import duration_text, parse_duration


@pytest.mark.parametrize("text", ["1s", "90s", "90m", "36h", "30d", "1d"])
def test_a_duration_has_a_text(text: str) -> None:
    """A duration is printed with the largest unit that divides it, in a form that is accepted."""
    assert duration_text(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", timedelta(seconds=90)),
        ("0s", timedelta()),
        ("1h30m", timedelta(hours=1.5)),
        ("1.5h", timedelta(hours=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("0.000000001s", timedelta.resolution),
    ],
)
def test_a_sum_of_numbers_with_units_is_a_duration(text: str, expected: timedelta) -> None:
    """Vault's clients send numbers with units, and anything above 0 stays above 0."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "s", "1 h", "-1s", "1h30", "1.s", "9" * 10, "9" * 9 + "w"])
def test_a_text_of_another_form_is_no_duration(text: str) -> None:
    """Other texts, and durations longer than any limit, are refused."""
    with pytest.raises(ValueError, match=r"invalid duration|too long"):
        parse_duration(text)
