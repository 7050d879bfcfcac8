"""The composition root: wires everything, decides nothing."""

import atexit

from flask import Flask

from vault import api, logs
from vault.crypto import Keyring
from vault.documents import Database, EncryptOnSave
from vault.operations.audit import audit_trail
from vault.operations.catalog import Catalog
from vault.operations.changes import Changes
from vault.operations.health import Health
from vault.operations.key_watch import KeyWatch
from vault.operations.secrets import Secrets
from vault.operations.services import Services
from vault.settings import Settings

#: Where an application's extensions hold the function that takes it down.
CLOSE = "secret-manager-close"


def create_app(settings: Settings) -> Flask:
    """Return the application that *settings* describe. MongoDB is not contacted before the first request."""
    keyring = Keyring.of(settings.master_key, settings.master_key_fallbacks)
    database = Database(settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days)
    encrypt_on_save = EncryptOnSave(keyring)
    encrypt_on_save.connect()
    trail = audit_trail(keyring, enabled=settings.audit_enabled)
    trail.connect()
    key_watch = KeyWatch(keyring, database)
    services = Services(
        secrets=Secrets(keyring, key_watch, max_bytes=settings.max_secret_bytes),
        changes=Changes(
            keyring,
            key_watch,
            max_bytes=settings.max_secret_bytes,
            max_versions=settings.max_versions,
            recovery_days=settings.delete_recovery_days,
        ),
        catalog=Catalog(keyring, key_watch),
        health=Health(database, key_watch, trail),
    )
    app = Flask(__name__, static_folder=None)

    def close() -> None:
        key_watch.close()
        trail.disconnect()
        encrypt_on_save.disconnect()
        database.close()

    # Signals hold their receivers weakly: kept here, they live as long as the application does.
    app.extensions[CLOSE] = close
    api.init_app(
        app,
        services,
        max_secret_bytes=settings.max_secret_bytes,
        trusted_proxies=settings.trusted_proxies,
    )
    return app


def from_environment() -> Flask:
    """Return the application of this process, configured and logging as the environment says.

    Raises:
        SettingsError: The environment holds wrong settings.
    """
    settings = Settings.from_environment()
    logs.configure(settings.log_level)
    app = create_app(settings)
    # Forked workers inherit this: each leaves the head of its part of the trail in the log when it ends.
    atexit.register(app.extensions[CLOSE])
    return app
