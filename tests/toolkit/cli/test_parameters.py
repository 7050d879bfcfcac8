"""The forms of arguments."""

from datetime import timedelta

import click
import pytest

from vault.toolkit.cli.parameters import duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", timedelta(seconds=1)),
        ("86400", timedelta(days=1)),
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(hours=1.5)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("3650d", timedelta(days=3_650)),
    ],
)
def test_a_number_has_a_unit(text: str, expected: timedelta) -> None:
    """A duration is a number of seconds, or a number with a unit."""
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0d",
        "3651d",
        "-1",
        "+1",
        "1.5h",
        "1h30m",
        "30D",
        "d",
        " 1d",
        "1d\n",
        "٣d",
        "9" * 10,
        "9" * 9 + "w",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Other texts, and durations outside 1 second to 10 years, are refused with the rule."""
    with pytest.raises(click.BadParameter, match=r"such as 30d|between 1 second and 3650 days"):
        duration(text)
