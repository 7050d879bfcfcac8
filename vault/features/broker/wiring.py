"""The service of the broker's feature."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.features.broker.uses import Uses


def services(parts: Parts) -> Iterator[object]:
    """Yield the service: uses."""
    yield Uses(parts.guard, parts.secrets)
