"""The canvas of the dashboard, in inches from its upper left corner."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from monitoring.panels import Times

_BACKGROUND, _PANEL, _TEXT, _LINES = "#111217", "#1b1e24", "#d8d9dc", "#30343b"
FAINT = "#9a9da3"
#: Size of one unit of Grafana's grid, which is 24 units wide, and the gap around a panel, in inches.
_UNIT_WIDTH, _UNIT_HEIGHT, _GAP = 0.62, 0.32, 0.05

#: From the left, from the top, width, height.
Place = tuple[float, float, float, float]


class Picture:
    """A figure of *rows* rows of Grafana's grid; all graphs show these *times*."""

    def __init__(self, rows: int, times: Times) -> None:
        self.times = times
        self._size = (24 * _UNIT_WIDTH + 2 * _GAP, rows * _UNIT_HEIGHT + 2 * _GAP)
        self._figure: Figure = plt.figure(figsize=self._size, facecolor=_BACKGROUND)

    @staticmethod
    def place(grid: dict[str, int]) -> Place:
        """Convert a panel's *grid* position to inches."""
        left, top = grid["x"] * _UNIT_WIDTH + 2 * _GAP, grid["y"] * _UNIT_HEIGHT + 2 * _GAP
        return left, top, grid["w"] * _UNIT_WIDTH - 2 * _GAP, grid["h"] * _UNIT_HEIGHT - 2 * _GAP

    def _box(self, place: Place) -> tuple[float, float, float, float]:
        left, top, width, height = place
        across, down = self._size
        return left / across, 1 - (top + height) / down, width / across, height / down

    def axes(self, place: Place) -> Axes:
        """Return axes at this place."""
        return self._figure.add_axes(self._box(place), facecolor="none")

    def ground(self, place: Place) -> None:
        """Draw the background of a panel."""
        left, bottom, width, height = self._box(place)
        style = {"facecolor": _PANEL, "edgecolor": _LINES, "linewidth": 0.8, "zorder": -1}
        self._figure.add_artist(Rectangle((left, bottom), width, height, **style))

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write *text* below and to the right of this place."""
        across, down = self._size
        style = {"va": "top", "color": _TEXT, "weight": "bold", **style}
        self._figure.text(left / across, 1 - top / down, text, **style)

    def number(self, place: Place, text: str, shade: str) -> None:
        """Write *text* in large type in the centre of a place."""
        left, top, width, height = place
        style = {"fontsize": 17, "color": shade, "ha": "center", "va": "center"}
        self.text(left + width / 2, top + height / 2, text, **style)

    def time_axis(self, axes: Axes) -> None:
        """Set the time axis of *axes* to the whole time range."""
        axes.set_xlim(*(datetime.fromtimestamp(time, UTC) for time in (self.times.start, self.times.end)))
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
        axes.tick_params(colors=FAINT, labelsize=7, length=0)
        axes.grid(color=_LINES, linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def legend(self, place: Place, names: Sequence[str], colours: Sequence[str], columns: int) -> None:
        """Draw a legend of *names* and *colours*."""
        axes = self.axes(place)
        axes.axis("off")
        axes.legend(
            handles=[Patch(color=colour, label=text) for text, colour in zip(names, colours, strict=True)],
            loc="lower left",
            ncols=columns,
            fontsize=7,
            frameon=False,
            labelcolor=_TEXT,
            handlelength=1.1,
            handleheight=0.25,
            columnspacing=1.2,
            borderpad=0,
            borderaxespad=0,
            labelspacing=0.35,
        )

    def save(self, path: Path) -> None:
        """Save the figure to *path*, with a reduced palette: it takes a third of the bytes."""
        drawn = BytesIO()
        self._figure.savefig(drawn, dpi=100)
        image = Image.open(drawn).convert("RGB").quantize(200, dither=Image.Dither.NONE)
        image.save(path, optimize=True)
