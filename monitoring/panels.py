"""The dashboard's data, queried from Prometheus as Grafana queries it."""

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
    """The time range and step of a query, and the scrape interval, in seconds."""

    start: float
    end: float
    step: int
    scrape: int

    @property
    def rate_interval(self) -> str:
        """Grafana's value of `$__rate_interval`."""
        return f"{max(self.step + self.scrape, 4 * self.scrape)}s"


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, including rows."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries(panel: dict[str, Any], times: Times) -> Iterator[tuple[str, str]]:
    """Yield each query of *panel* with its variables replaced, and the legend format of its series."""
    for target in panel.get("targets", ()):
        query = target["expr"].replace("$__rate_interval", times.rate_interval).replace("$instance", ".*")
        yield query, target["legendFormat"]


def ask(url: str, query: str, times: Times) -> list[Series]:
    """Return the series of *query* from the Prometheus at *url*."""
    parameters = {"query": query, "start": times.start, "end": times.end, "step": times.step}
    with urlopen(f"{url}/api/v1/query_range?{urlencode(parameters)}", timeout=30) as reply:  # noqa: S310 - http
        result = json.load(reply)["data"]["result"]
    return [
        (line["metric"], [(time, float(value)) for time, value in line["values"] if value != "NaN"])
        for line in result
    ]


def name(form: str, labels: dict[str, str]) -> str:
    """Return the legend's name for the series with these *labels*."""
    for label, value in labels.items():
        form = form.replace(f"{{{{{label}}}}}", value)
    return form
