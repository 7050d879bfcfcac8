"""Draw the dashboard without Grafana: `python -m monitoring.draw PROMETHEUS START END PICTURE.png`.

Panels, positions and queries come from the dashboard's file. The values come from a Prometheus that scrapes
every second. Times are seconds since the epoch. Requires the packages of `scripts/install.sh bench`.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from monitoring.panels import Times, ask, name, panels, queries
from monitoring.picture import FAINT, Picture, Place

_COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#8ab8ff"}
_SERIES = (
    *("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#2fb5a5"),
    *("#fade2a", "#447ebc", "#c15c17", "#ca95e5", "#96d98d", "#ffa6b0", "#8f9bb3"),
)
#: Margins of a graph inside its panel, and the height of a legend line, in inches.
_LEFT, _RIGHT, _TOP, _BOTTOM, _LEGEND_LINE = 0.72, 0.12, 0.34, 0.25, 0.17

#: Names of series with their points of time and value.
Named = list[tuple[str, list[tuple[float, float]]]]


def _writer(unit: str) -> Callable[[float], str]:
    """Return a formatter for numbers in Grafana's *unit*."""

    def seconds(value: float) -> str:
        return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"

    def short(value: float) -> str:
        return f"{value:.3g}" if abs(value) < 1_000 else f"{value / 1e3:.3g} K"

    suffix = {"reqps": " req/s", "cps": " /s"}.get(unit, "")
    special: dict[str, Callable[[float], str]] = {"s": seconds, "percentunit": lambda value: f"{value:.2%}"}
    return special.get(unit, lambda value: short(value) + suffix)


def _colour(panel: dict[str, Any], value: float) -> str:
    """Return the threshold colour of *value* in *panel*."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return _COLOURS[reached[-1]]


def _moments(points: list[tuple[float, float]]) -> list[datetime]:
    return [datetime.fromtimestamp(time, UTC) for time, _ in points]


def _draw_stat(picture: Picture, panel: dict[str, Any], series: Named, place: Place) -> None:
    left, top, width, height = place
    text, points = series[0]
    last = points[-1][1]
    shade = _colour(panel, last)
    if panel["options"]["textMode"] != "name":
        text = _writer(panel["fieldConfig"]["defaults"]["unit"])(last)
        graph = picture.axes((left, top + height * 0.62, width, height * 0.38))
        values = [value for _, value in points]
        graph.fill_between(_moments(points), values, color=shade, alpha=0.25, lw=0)
        graph.plot(_moments(points), values, color=shade, lw=0.8)
        graph.set_ylim(0, max(values) or 1)
        graph.margins(x=0)
        graph.axis("off")
    picture.number(place, text, shade)


def _draw_graph(picture: Picture, panel: dict[str, Any], series: Named, place: Place) -> None:
    left, top, width, height = place
    columns = max(1, int(width / (0.35 + 0.068 * max(len(text) for text, _ in series))))
    legend = -(-len(series) // columns) * _LEGEND_LINE + 0.08
    inner = (left + _LEFT, top + _TOP, width - _LEFT - _RIGHT, height - _TOP - _BOTTOM - legend)
    axes = picture.axes(inner)
    colours = [_SERIES[number % len(_SERIES)] for number in range(len(series))]
    if panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal":
        times = sorted({time for _, points in series for time, _ in points})
        heights = [[dict(points).get(time, 0.0) for time in times] for _, points in series]
        axes.stackplot(_moments([(time, 0) for time in times]), heights, colors=colours, alpha=0.75, lw=0.4)
    else:
        for (_, points), shade in zip(series, colours, strict=True):
            values = [value for _, value in points]
            axes.plot(_moments(points), values, color=shade, lw=1.1)
            axes.fill_between(_moments(points), values, color=shade, alpha=0.06, lw=0)
    axes.set_ylim(bottom=0)
    if not any(value for _, points in series for _, value in points):
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    write = _writer(panel["fieldConfig"]["defaults"]["unit"])
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    picture.time_axis(axes)
    below = (left + 0.15, top + height - legend, width - 0.3, legend - 0.07)
    picture.legend(below, [text for text, _ in series], colours, columns)


def _draw_states(picture: Picture, panel: dict[str, Any], series: Named, place: Place) -> None:
    left, top, width, height = place
    names = 0.2 + 0.072 * max(len(text) for text, _ in series)
    axes = picture.axes((left + names, top + _TOP, width - names - _RIGHT, height - _TOP - _BOTTOM))
    for number, (_, points) in enumerate(series):
        for moment, (_, value) in zip(_moments(points), points, strict=True):
            times = [moment, moment + timedelta(seconds=picture.times.step)]
            shade = _colour(panel, value)
            axes.fill_between(times, number - 0.4, number + 0.4, color=shade, alpha=0.7, lw=0)
    axes.set_ylim(len(series) - 0.5, -0.5)
    axes.set_yticks(range(len(series)), [text for text, _ in series])
    picture.time_axis(axes)
    axes.grid(visible=False)


_DRAW = {"stat": _draw_stat, "timeseries": _draw_graph, "state-timeline": _draw_states}


def _ask_all(url: str, panel: dict[str, Any], times: Times) -> Named:
    """Return the series of *panel* that have points, with their legend names."""
    found = [(form, series) for query, form in queries(panel, times) for series in ask(url, query, times)]
    return [(name(form, labels), points) for form, (labels, points) in found if points]


def draw(url: str, times: Times, path: Path) -> None:
    """Draw the data of the Prometheus at *url* for these *times*."""
    shown = panels()
    picture = Picture(max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown), times)
    for panel in shown:
        left, top, *_ = place = picture.place(panel["gridPos"])
        if panel["type"] == "row":
            picture.text(left + 0.05, top + 0.02, panel["title"], fontsize=10.5)
            continue
        picture.ground(place)
        picture.text(left + 0.12, top + 0.09, panel["title"], fontsize=8.5)
        if series := _ask_all(url, panel, times):
            _DRAW[panel["type"]](picture, panel, series, place)
        else:
            picture.number(place, "No data", FAINT)
    picture.save(path)


def main() -> None:
    """Ask and draw."""
    url, start, end, path = sys.argv[1:]
    step = max(1, round((float(end) - float(start)) / 240))
    draw(url, Times(float(start), float(end), step=step, scrape=1), Path(path))


if __name__ == "__main__":
    main()
