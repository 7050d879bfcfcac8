"""The instruments of the service's metrics."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from vault.common.feature import features
from vault.common.observability import metrics


def described() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Yield the description and the labels of each metric, also of those in modules `metrics` of features."""
    names = [f"vault.features.{feature.name}.metrics" for feature in features()]
    for module in (metrics, *(import_module(name) for name in names if find_spec(name))):
        for instrument in vars(module).values():
            if isinstance(instrument, MetricWrapperBase):
                for family in instrument.describe():
                    yield family, instrument._labelnames
