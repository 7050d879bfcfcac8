"""Metrics of the driver, in a registry of its own: it is one process, unlike the service."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vault import __version__
from vault.clients.delivery.outcomes import Outcome

_NAMESPACE = "secret_manager_driver"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 100)


class Metrics:
    """The driver's instruments. No label contains data from Docker or the service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        build = Gauge(
            "build_info", "The driver's version.", ["version"], namespace=_NAMESPACE, registry=self._registry
        )
        build.labels(__version__).set(1)
        self._deliveries = Counter(
            "deliveries",
            "Docker's requests for a secret, by outcome.",
            ["outcome"],
            namespace=_NAMESPACE,
            registry=self._registry,
        )
        self._duration = Histogram(
            "delivery_duration_seconds",
            "Time to a reply to Docker, in seconds.",
            namespace=_NAMESPACE,
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._batches = Counter(
            "batches",
            "Requests to the service, by outcome.",
            ["outcome"],
            namespace=_NAMESPACE,
            registry=self._registry,
        )
        self._batch_size = Histogram(
            "batch_size",
            "Number of secrets in a request to the service.",
            namespace=_NAMESPACE,
            registry=self._registry,
            buckets=_ITEMS,
        )
        # From the beginning: a rate needs a zero.
        for outcome in Outcome:
            self._deliveries.labels(outcome)
        for answer in ("answered", "failed"):
            self._batches.labels(answer)

    def delivery(self, outcome: Outcome, seconds: float) -> None:
        """Count a reply to Docker."""
        self._deliveries.labels(outcome).inc()
        self._duration.observe(seconds)

    def batch(self, items: int, *, is_answered: bool) -> None:
        """Count a request to the service."""
        self._batches.labels("answered" if is_answered else "failed").inc()
        self._batch_size.observe(items)

    def page(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
