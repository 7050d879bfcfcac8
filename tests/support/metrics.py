"""The metrics of this process, and of others in the same folder."""

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ["PROMETHEUS_MULTIPROC_DIR"])
    return registry


def measured(name: str, **labels: str) -> float:
    """Return the value of a sample, by default 0."""
    return _registry().get_sample_value(f"secret_manager_{name}", labels) or 0


def exposition() -> str:
    """Return all metrics in Prometheus's format."""
    return generate_latest(_registry()).decode()


class Growth:
    """The growth of a sample since this object was created."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = measured(name, **labels)

    @property
    def now(self) -> float:
        """The difference."""
        return measured(self._name, **self._labels) - self._before
