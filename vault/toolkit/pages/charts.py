"""The geometry of charts, which a template draws as SVG.

A library such as matplotlib would add 100 MB to the image; plotly and Bokeh need scripts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

#: The highest level of a heat map; 0 is for nothing.
MAX_LEVEL = 6

#: The size of the plot, in the units of the SVG.
WIDTH, HEIGHT = 900, 180

#: The gap between two bars, and the smallest height of a bar that is not empty.
_GAP = 1.0
_MIN_HEIGHT = 1.5

_MAX_TICKS = 8
#: Distances of the lines across the plot, in tenths of a power of ten.
_STEPS = (1, 2, 5, 10, 20)
_MAX_LINES = 5

#: The nominal length of each unit of time, and the form of its labels.
_UNITS = {
    "hour": (timedelta(hours=1), "%d %b %H:%M"),
    "day": (timedelta(days=1), "%d %b"),
    "week": (timedelta(days=7), "%d %b %Y"),
    "month": (timedelta(days=30.44), "%b %Y"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar, in the units of the SVG."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a place on an axis, in the units of the SVG."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """Stacked bars over time."""

    bars: Sequence[Bar]
    times: Sequence[Tick]
    numbers: Sequence[Tick]


def stacked_bars(
    slots: Sequence[tuple[datetime, Mapping[str, int]]], *, unit: str, since: datetime, until: datetime
) -> BarChart:
    """Return a chart of *slots*, each with its start and its numbers by kind.

    The axis is from *since*, or the first slot, until *until*. *unit* is the length of a slot: `hour`, `day`,
    `week` or `month`.
    """
    length, form = _UNITS[unit]
    start = min([since, *(begin for begin, _ in slots)])
    seconds = (until - start).total_seconds()
    scale = WIDTH / max(seconds, length.total_seconds())
    lines = _lines(max((sum(numbers.values()) for _, numbers in slots), default=0))
    bars: list[Bar] = []
    for begin, numbers in slots:
        place = (begin - start).total_seconds() * scale
        width = min(length.total_seconds() * scale, WIDTH - place)
        top = float(HEIGHT)
        for kind, number in numbers.items():
            if number:
                height = max(HEIGHT * number / lines[-1], _MIN_HEIGHT)
                top -= height
                title = f"{begin:{form}}: {number:,} {kind}"
                box = _round(place), _round(top), _round(max(width - _GAP, 0.5)), _round(height)
                bars.append(Bar(kind, *box, title))
    step = ceil(seconds / length.total_seconds() / _MAX_TICKS) * length
    times = []
    moment = start
    while moment < until:
        times.append(Tick(_round((moment - start).total_seconds() * scale), f"{moment:{form}}"))
        moment += step
    figures = [Tick(_round(HEIGHT - HEIGHT * line / lines[-1]), f"{line:,}") for line in lines]
    return BarChart(bars, times, figures)


def level(number: int, largest: int) -> int:
    """Return the level of *number* in a heat map whose largest number is *largest*."""
    return ceil(MAX_LEVEL * number / largest) if number > 0 else 0


def share(number: int, largest: int) -> float:
    """Return the length of a bar for *number*, from 0 to 100, if that of *largest* is 100."""
    return _round(100 * number / largest) if largest > 0 else 0.0


def _lines(largest: int) -> list[int]:
    """Return round numbers from 0 up to at least *largest*, which is at least 1."""
    power = 10 ** (len(str(max(largest, 1))) - 1)
    steps = [factor * power // 10 or 1 for factor in _STEPS]
    step = next(step for step in steps if step * _MAX_LINES >= largest)
    return [step * number for number in range(ceil(max(largest, 1) / step) + 1)]


def _round(number: float) -> float:
    return round(number, 2)
