"""The task of custody."""

from collections.abc import Iterator
from pathlib import Path

from vault.features.custody.handover import handed_down
from vault.features.custody.settings import CustodySettings
from vault.features.custody.watch import CustodyWatch
from vault.parts import Parts


def tasks(parts: Parts) -> Iterator[CustodyWatch]:
    """Yield the watch over the keyring file, if the keys come from one."""
    settings = parts.settings.of(CustodySettings)
    if settings.master_keyring_file and (opened := handed_down()):
        yield CustodyWatch(
            opened,
            Path(settings.master_keyring_file),
            settings.custody,
            check_seconds=settings.custody_check_seconds,
        )
