"""Doubts about valid settings: phrases without any value."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from vault.common import feature
from vault.common.config.fields import declared_in
from vault.common.config.rules import of_features


def doubts(values: Mapping[str, Any], given: Container[str]) -> Iterator[str]:
    """Yield a phrase for each doubt about the *values* of all settings; the names of those set are *given*.

    Those of a feature are in the static method `doubts` of its settings, if it has one.
    """
    if any(network.prefixlen == 0 for network in values["TRUSTED_PROXIES"]):
        yield "TRUSTED_PROXIES has every address: each client can forge its own"
    if values["MASTER_KEY"] in values["MASTER_KEY_FALLBACKS"]:
        yield "MASTER_KEY is also in MASTER_KEY_FALLBACKS: a rotation needs a new key"
    yield from _idle(given, values["FEATURES_OFF"])
    for doubts_of_feature in of_features("doubts"):
        yield from doubts_of_feature(values)


def _idle(given: Container[str], off: Container[str]) -> Iterator[str]:
    """Yield a phrase for each setting that is *given* to a feature that is *off*."""
    for one in feature.features():
        kinds = feature.resolved([one.settings] if one.settings and one.name in off else [])
        for name in [name for kind in kinds for name in declared_in(kind) if name in given]:
            yield f"{name} has no effect: its feature {one.name} is in FEATURES_OFF"
