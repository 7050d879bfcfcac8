"""The context of operators' commands: the parts of the service, connected."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pkgutil import resolve_name

from vault.common import feature
from vault.common.config.dotenv import dotenv_path
from vault.common.config.settings import Settings
from vault.common.config.shown import mongodb
from vault.common.errors import SettingsError, StorageUnavailableError, VaultError
from vault.core.attempt import Action, Attempt
from vault.core.documents import Database
from vault.core.keys.guard import require_agreement
from vault.core.keys.standing import require_known_primary, require_standing
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.core.trail.streams import signing_keys
from vault.toolkit.cli.output import Output

#: Timeout of one MongoDB operation of a command; requests have a much shorter one.
_TIMEOUT_SECONDS = 600


@contextmanager
def connected(
    output: Output,
    *,
    reading: bool = False,
    recorded: bool = False,
    scratch: str = "",
    audit_enabled: bool | None = None,
    opener: Callable[[Settings], Settings] = Settings.with_keys,
    accepts_file: bool = False,
) -> Iterator[Parts]:
    """Connect as the service does, and yield its parts.

    *output* gets a note about settings from a file. A command that only reads (*reading*) changes nothing,
    also no index and no retention. It works for a MongoDB user with read access only, and on a tampered trail
    that keeps the service from starting. The name of a *scratch* database selects that one on the same
    servers; its trail has no retention.

    Other commands, and reading ones that are *recorded*, need every master key in use, and the database's
    state of the audit trail. *audit_enabled* replaces the setting. *opener* returns the settings with their
    keys. With *accepts_file*, an operator vouches for the keyring file; the trail must know its primary key.

    Raises:
        AuditStateError: `AUDIT_ENABLED` disagrees with the database; nothing was written.
        KeyMissingError: The keyring lacks a key in use; the message names it. Nothing was written.
        KeyringFileUnknownError: Nothing vouches for the keyring file. Nothing was written.
        SettingsError: The environment has invalid settings.
        StorageUnavailableError: MongoDB is not available.
        VaultError: The master keys cannot be opened.
    """
    settings = opener(settings_of_service())
    vouches = accepts_file and not settings.is_keyring_confirmed
    if vouches:
        settings = replace(settings, is_keyring_confirmed=True)
    days = 0 if scratch else settings.audit_ttl_days
    database = Database(
        settings.mongo_uri, audit_ttl_days=days, timeout_seconds=_TIMEOUT_SECONDS, name=scratch
    )
    with unchecked(output, Parts(settings, database, audit_enabled=audit_enabled)) as parts:
        require_mongodb(database, settings.mongo_uri)
        if vouches:
            for key_id in require_known_primary(parts.keyring):
                output.note(f"The audit trail does not know key {key_id}")
        require_standing(parts.keyring)
        if recorded or not reading:
            require_agreement(parts.keyring, signing_keys.trusted, audit_enabled=parts.audit_enabled)
        if not reading:
            database.prepare()
        for one in opened_attempts(settings):
            # A command that only reads works for a user of MongoDB who may not write.
            with suppress(VaultError) if reading and not recorded else nullcontext():
                record(one)
        yield parts


@contextmanager
def unchecked(output: Output, parts: Parts) -> Iterator[Parts]:
    """Yield the *parts*, whatever the state of their database, and close them; a note as `connected`."""
    if parts.settings.dotenv:
        output.note(f"Settings from {dotenv_path()}: {', '.join(parts.settings.dotenv)}")
    try:
        yield parts
    finally:
        parts.close()


def settings_of_service() -> Settings:
    """Return the settings of the service. Raises `SettingsError`."""
    try:
        return Settings.from_environment()
    except SettingsError as error:
        raise SettingsError(
            error.problem,
            hint="this command needs the settings of the service, in the environment or in .env: see "
            "docs/settings.md",
        ) from None


def require_mongodb(database: Database, uri: str) -> None:
    """Require that *uri*, the connection string of *database*, leads to a whole database.

    Raises:
        StorageUnavailableError: It does not; the error says why, and has a hint.
    """
    try:
        database.require_whole()
    except StorageUnavailableError as error:
        if error.is_denied or error.hint:
            raise
        raise StorageUnavailableError(
            f"{error.problem}: {database.explanation() or error.reason}",
            hint=f"check that MongoDB runs at {mongodb(uri)}, and that MONGO_URI leads to it",
        ) from None


@contextmanager
def operator_attempt(output: Output, action: Action) -> Iterator[tuple[Parts, Attempt]]:
    """Yield the parts, and the operator's attempt at *action*; every refusal is recorded."""
    with connected(output) as parts:
        attempt = Attempt(action=action, principal=OPERATOR)
        try:
            yield parts, attempt
        except VaultError as error:
            attempt.finish(error.outcome)
            raise


def opened_attempts(settings: Settings, *, accepts: bool = False) -> list[Attempt]:
    """Return the attempts that record how a feature has opened the keys; *accepts* as in `Opener`."""
    openers = feature.openers() if settings.keyring_file_digest else []
    return [
        attempt for opener in openers for attempt in resolve_name(opener.attempts)(OPERATOR, accepts=accepts)
    ]
