"""Plot a locust run: `python loadtest/plot.py PREFIX_stats_history.csv PICTURE.png`.

Shows throughput and latency over the number of users. Locust writes the input with `--csv PREFIX`; use a run
of loadtest/scenarios/ramp.py.
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
    """Return the median of each figure by number of users."""
    samples: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            users, rate = int(row["User Count"]), float(row["Requests/s"])
            # Locust has no figures for a step in its first seconds.
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
    """Draw throughput and latency in two panels, one below the other."""
    figure, (throughput, latency) = plt.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    users = list(found)
    throughput.plot(users, [found[count]["Requests/s"] for count in users], marker="o")
    throughput.set_ylabel("requests per second")
    for name in _PERCENTILES:
        latency.plot(users, [found[count][name] for count in users], marker="o", label=name)
    latency.set_ylabel("milliseconds")
    latency.set_xlabel("concurrent users")
    latency.legend()
    for panel in (throughput, latency):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read the history and draw the picture."""
    history, picture = map(Path, sys.argv[1:])
    found = read(history)
    if not found:
        sys.exit(f"{history} contains no figures: check the locust run")
    draw(found, picture)


if __name__ == "__main__":
    main()
