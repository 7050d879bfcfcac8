"""What the dashboard shows, asked from Prometheus as Grafana would ask it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

DASHBOARD = Path(__file__).parent / "grafana" / "secret-manager.json"

#: A series' labels, and its points: time in seconds since the epoch, and value.
Series = tuple[dict[str, str], list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Times:
    """Which points are asked for, in seconds, and how often Prometheus scrapes."""

    start: float
    end: float
    step: int
    scrape: int

    @property
    def rate_interval(self) -> str:
        """What Grafana puts in place of `$__rate_interval`."""
        return f"{max(self.step + self.scrape, 4 * self.scrape)}s"


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, rows among them."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries(panel: dict[str, Any], times: Times) -> Iterator[tuple[str, str]]:
    """Yield each query of *panel* with all variables in place, and the form of its series' names."""
    for target in panel.get("targets", ()):
        query = target["expr"].replace("$__rate_interval", times.rate_interval).replace("$instance", ".*")
        yield query, target["legendFormat"]


def ask(url: str, query: str, times: Times) -> list[Series]:
    """Return what the Prometheus at *url* answers to *query*."""
    parameters = {"query": query, "start": times.start, "end": times.end, "step": times.step}
    with urlopen(f"{url}/api/v1/query_range?{urlencode(parameters)}", timeout=30) as reply:  # noqa: S310 - http
        result = json.load(reply)["data"]["result"]
    return [
        (line["metric"], [(time, float(value)) for time, value in line["values"] if value != "NaN"])
        for line in result
    ]


def name(form: str, labels: dict[str, str]) -> str:
    """Return what a legend calls the series with these *labels*."""
    for label, value in labels.items():
        form = form.replace(f"{{{{{label}}}}}", value)
    return form
