"""What was measured in this process, and in others into the same folder."""

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ["PROMETHEUS_MULTIPROC_DIR"])
    return registry


def measured(name: str, **labels: str) -> float:
    """Return the value of a sample; 0 if there is none."""
    return _registry().get_sample_value(f"secret_manager_{name}", labels) or 0


def shown() -> str:
    """Return all of it as Prometheus would get it."""
    return generate_latest(_registry()).decode()


class Growth:
    """How much a sample has grown since this was made."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = measured(name, **labels)

    @property
    def now(self) -> float:
        """The difference."""
        return measured(self._name, **self._labels) - self._before
