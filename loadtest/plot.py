"""Plot a locust run: `python loadtest/plot.py PREFIX_stats_history.csv PICTURE.png`.

Throughput and latency over the number of users. The file comes from locust's `--csv PREFIX`, best of
a run of loadtest/scenarios/ramp.py.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_PERCENTILES = ("50%", "95%", "99%")


def read(path: Path) -> dict[int, dict[str, float]]:
    """Return by the number of users the medians, over the seconds with so many, of each figure."""
    samples: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            users, rate = int(row["User Count"]), float(row["Requests/s"])
            # In the first seconds of a step locust has no figures of it yet.
            if row["Name"] != "Aggregated" or not users or not rate:
                continue
            samples[users]["Requests/s"].append(rate)
            for name in _PERCENTILES:
                samples[users][name].append(float(row[name]))
    return {
        users: {name: median(values) for name, values in found.items()}
        for users, found in sorted(samples.items())
    }


def draw(found: dict[int, dict[str, float]], path: Path) -> None:
    """Draw two panels, one below the other."""
    figure, (throughput, latency) = plt.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    users = list(found)
    throughput.plot(users, [found[count]["Requests/s"] for count in users], marker="o")
    throughput.set_ylabel("requests a second")
    for name in _PERCENTILES:
        latency.plot(users, [found[count][name] for count in users], marker="o", label=name)
    latency.set_ylabel("milliseconds")
    latency.set_xlabel("users at the same time")
    latency.legend()
    for panel in (throughput, latency):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read and draw."""
    history, picture = map(Path, sys.argv[1:])
    found = read(history)
    if not found:
        sys.exit(f"{history} holds no figures")
    draw(found, picture)


if __name__ == "__main__":
    main()
