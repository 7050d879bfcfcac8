"""The picture of the README: throughput and latency of the services."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from comparison import Block

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

_PERCENTILES = {"p50": "o", "p99": "s", "p999": "D"}
_COLORS = ("#2563eb", "#b45309")
#: The same file for the same figures.
_SETTINGS: Any = {"svg.hashsalt": "performance", "font.size": 11}


def draw(blocks: Mapping[str, Block], names: Sequence[str], path: Path) -> None:
    """Draw requests per second, and the latencies from p50 to p99.9, of the services called *names*.

    *blocks* are the loads by their labels.
    """
    with mpl.rc_context(_SETTINGS):
        figure, (throughput, latency) = plt.subplots(
            1, 2, sharey=True, figsize=(10, 1 + 0.75 * len(names)), layout="constrained"
        )
        height = 0.8 / len(blocks)
        for number, ((label, block), color) in enumerate(zip(blocks.items(), _COLORS, strict=True)):
            rows = [place + (number - (len(blocks) - 1) / 2) * height for place in range(len(names))]
            samples = [block.samples[name] for name in names]
            bars = throughput.barh(
                rows, [sample.a_second for sample in samples], height * 0.9, color=color, label=label
            )
            throughput.bar_label(bars, fmt="{:,.0f}", padding=3)
            latency.hlines(
                rows, [sample.p50 for sample in samples], [sample.p999 for sample in samples], color=color
            )
            for field, marker in _PERCENTILES.items():
                latency.plot(
                    [getattr(sample, field) for sample in samples], rows, marker, color=color, markersize=5
                )
        _label(throughput, latency, names)
        figure.legend(*throughput.get_legend_handles_labels(), loc="outside upper center", ncols=len(blocks))
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _label(throughput: Axes, latency: Axes, names: Sequence[str]) -> None:
    throughput.set_yticks(range(len(names)), names)
    throughput.invert_yaxis()
    throughput.set_xlabel("requests per second")
    throughput.xaxis.set_major_formatter("{x:,.0f}")
    throughput.margins(x=0.15)
    latency.set_xscale("log")
    latency.set_xlabel("milliseconds: ● p50, ■ p99, ◆ p99.9")
    latency.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    latency.xaxis.set_major_formatter("{x:g}")
    latency.xaxis.set_minor_locator(NullLocator())
    for panel in (throughput, latency):
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
