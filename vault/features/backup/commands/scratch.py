"""The scratch database of a drill."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from vault.common.config.settings import Settings
from vault.common.errors import StorageUnavailableError
from vault.core.parts import Parts
from vault.features.backup import drill as drills
from vault.features.backup.settings import BackupSettings
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output


@contextmanager
def scratch_database(output: Output, owner: str = "") -> Iterator[Parts]:
    """Yield the parts with a new scratch database, which is dropped after the block.

    An *owner*, who drills one backup at a time, always has the same one: what a killed drill left is dropped.

    Raises:
        StorageUnavailableError: MongoDB is unavailable, or the user may not create databases there.
    """
    name = f"drill_{owner or secrets.token_hex(8)}"
    with _hinted(), connected(output, reading=True, scratch=name, opener=_of_drills) as parts:
        if owner:
            parts.database.drop()
        with drills.dropped_afterwards(parts.database):
            yield parts


def _of_drills(settings: Settings) -> Settings:
    opened = settings.with_keys()
    uri = opened.of(BackupSettings).drill_mongo_uri
    return replace(opened, mongo_uri=uri) if uri else opened


@contextmanager
def _hinted() -> Iterator[None]:
    """Say which MongoDB a drill needs, if the user may not create databases."""
    try:
        yield
    except StorageUnavailableError as error:
        if error.is_denied:
            error.hint = "a drill needs a MongoDB in DRILL_MONGO_URI whose user may create databases"
        raise
