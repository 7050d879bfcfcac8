"""What operators' commands have in common: the service's own settings, keyring, database and trail."""

from collections.abc import Iterator
from contextlib import contextmanager

from vault.crypto import Keyring
from vault.documents import Database
from vault.operations.audit import audit_trail
from vault.settings import Settings


@contextmanager
def connected() -> Iterator[Keyring]:
    """Connect as the service would, and yield its keyring.

    Raises:
        SettingsError: The environment holds wrong settings.
        StorageUnavailableError: MongoDB is not there.
    """
    settings = Settings.from_environment()
    database = Database(settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days)
    trail = audit_trail(enabled=settings.audit_enabled)
    trail.connect()
    try:
        database.prepare()
        yield Keyring.of(settings.master_key, settings.master_key_fallbacks)
    finally:
        trail.disconnect()
        database.close()
