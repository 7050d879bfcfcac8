"""What operators' commands have in common: the service's own settings, keyring, database and trail."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from vault.audit.sinks import sink
from vault.audit.writer import audit_trail
from vault.config.settings import Settings, dotenv_path
from vault.crypto import Keyring
from vault.documents import Database
from vault.keys import guard

#: Seconds that one step of a command may take; a request has far less.
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What an operator's command works with."""

    keyring: Keyring
    database: Database
    audit_ttl_days: int
    audit_enabled: bool
    #: The weaknesses of master keys, as `Settings` has them.
    weak_keys: tuple[str, ...]
    token_max_days: int


@contextmanager
def connected(
    *, reading: bool = False, recorded: bool = False, scratch: str = "", audit_enabled: bool | None = None
) -> Iterator[CommandContext]:
    """Connect as the service would, and yield what commands need.

    A command that only reads changes nothing, indexes and retention included: it works for a user
    who may only read, and on a trail that was tampered with so that the service would not start. With the
    name of a *scratch* database it is that, on the same servers, with a trail that is kept for good.

    All others, and one that reads and has to be *recorded*, need every master key that is in use, and the
    state of the audit trail that the database has. *audit_enabled* takes the place of the setting.

    Raises:
        AuditStateError: `AUDIT_ENABLED` disagrees with the database; nothing was written.
        KeyMissingError: A key in use is missing; the message says which. Nothing was written.
        SettingsError: The environment holds wrong settings.
        StorageUnavailableError: MongoDB is not there.
    """
    settings = Settings.from_environment()
    if settings.dotenv:
        click.echo(f"Settings from {dotenv_path()}: {', '.join(settings.dotenv)}", err=True)
    days = 0 if scratch else settings.audit_ttl_days
    database = Database(
        settings.mongo_uri, audit_ttl_days=days, timeout_seconds=_TIMEOUT_SECONDS, name=scratch
    )
    keyring = Keyring.of(settings.master_key, settings.master_key_fallbacks)
    audited = settings.audit_enabled if audit_enabled is None else audit_enabled
    entry_sink = sink(settings.audit_sink, required=settings.audit_sink_required)
    trail = audit_trail(keyring, entry_sink, enabled=audited)
    trail.connect()
    try:
        database.ping()
        if recorded or not reading:
            guard.require_agreement(keyring, audit_enabled=audited)
        if not reading:
            database.prepare()
        yield CommandContext(
            keyring,
            database,
            settings.audit_ttl_days,
            audited,
            settings.weak_keys,
            settings.token_max_days,
        )
    finally:
        trail.disconnect()
        database.close()
