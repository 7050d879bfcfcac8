"""The geometry of charts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.toolkit.pages.charts import HEIGHT, MAX_LEVEL, WIDTH, level, share, stacked_bars

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_bars_are_stacked_in_proportion() -> None:
    """The parts of a bar are on top of each other, and as high as their numbers on the axis."""
    slots = [(BEGIN, {"reads": 60, "failed": 40, "other": 0}), (BEGIN + DAY, {"reads": 50})]
    chart = stacked_bars(slots, unit="day", since=BEGIN, until=BEGIN + 2 * DAY)
    reads, failed, later = chart.bars
    assert (reads.height, reads.y, failed.height, failed.y) == (108, 72, 72, 0)
    assert (later.x, later.height, reads.width) == (WIDTH / 2, 90, WIDTH / 2 - 1)
    assert failed.title == "01 Nov: 40 failed"
    assert [(tick.label, tick.place) for tick in chart.numbers][::5] == [("0", HEIGHT), ("100", 0)]
    assert [(tick.label, tick.place) for tick in chart.times] == [("01 Nov", 0), ("02 Nov", WIDTH / 2)]


def test_a_small_number_is_visible() -> None:
    """One refusal next to a million reads has a height that can be seen."""
    slots = [(BEGIN, {"reads": 1_000_000, "refused": 1})]
    chart = stacked_bars(slots, unit="day", since=BEGIN, until=BEGIN + DAY)
    assert chart.bars[1].height > 1


def test_an_empty_chart_has_its_axes() -> None:
    """Without any requests, only the axes are drawn."""
    chart = stacked_bars([], unit="hour", since=BEGIN, until=BEGIN + timedelta(seconds=1))
    assert (chart.bars, [tick.label for tick in chart.numbers]) == ([], ["0", "1"])
    assert [tick.label for tick in chart.times] == ["01 Nov 00:00"]


@pytest.mark.parametrize(("unit", "days"), [("hour", 5), ("day", 120), ("week", 800), ("month", 3_650)])
def test_labels_have_room(unit: str, days: int) -> None:
    """However long the period is, the time axis has a few labels."""
    chart = stacked_bars([], unit=unit, since=BEGIN - days * DAY, until=BEGIN)
    assert 4 <= len(chart.times) <= 9


@given(st.integers(0, 10**12))
def test_the_axis_reaches_the_highest_bar(number: int) -> None:
    """Lines have round numbers, are a few, and no bar is higher than the last."""
    chart = stacked_bars([(BEGIN, {"reads": number})], unit="day", since=BEGIN, until=BEGIN + DAY)
    assert 2 <= len(chart.numbers) <= 7
    assert all(bar.y >= 0 and bar.y + bar.height <= HEIGHT + 0.01 for bar in chart.bars)


def test_levels_and_shares_are_in_proportion() -> None:
    """Only nothing has level 0, and the largest number has the highest level and the whole share."""
    assert [level(number, 600) for number in (0, 1, 100, 101, 600)] == [0, 1, 1, 2, MAX_LEVEL]
    assert [share(number, 8) for number in (0, 1, 8)] == [0, 12.5, 100]
    assert share(0, 0) == 0
