"""The task of compaction."""

from collections.abc import Iterator

from vault.features.compaction.compaction import Compaction
from vault.parts import Parts


def tasks(parts: Parts) -> Iterator[Compaction]:
    """Yield the compaction of the trail."""
    yield Compaction(parts.keyring)
