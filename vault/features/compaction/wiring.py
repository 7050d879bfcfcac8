"""The task of compaction."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.features.compaction.compaction import Compaction


def tasks(parts: Parts) -> Iterator[Compaction]:
    """Yield the compaction of the trail."""
    yield Compaction(parts.keyring)
