"""The context of operators' commands: the service's settings, keyring, database and trail."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from vault.audit import signing_keys
from vault.audit.sinks import sink
from vault.audit.writer import audit_trail
from vault.auth.jwt_auth import SettingsAuthenticator, settings_authenticator
from vault.auth.token_keys import TokenKeys
from vault.cli.shell.output import Output
from vault.config.settings import Settings, dotenv_path
from vault.config.summary import mongodb_address
from vault.core.attempt import Action, Attempt
from vault.core.errors import SettingsError, StorageUnavailableError, VaultError
from vault.core.outcomes import outcome_of
from vault.core.principal import OPERATOR
from vault.crypto import Keyring
from vault.documents import Database
from vault.keys.guard import KeyringGuard, require_agreement

#: Timeout of one MongoDB operation of a command; requests have a much shorter one.
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The settings and services of a command."""

    keyring: Keyring
    database: Database
    audit_ttl_days: int
    audit_enabled: bool
    #: Descriptions of weak master keys, as in `Settings`.
    weak_keys: tuple[str, ...]
    token_max_days: int
    max_secret_bytes: int
    max_versions: int
    #: The issuer of JWTs in the settings.
    own_issuer: SettingsAuthenticator

    def guard(self) -> closing[KeyringGuard]:
        """Return the same guard as in a worker, for a block: a wrong master key must not encrypt anything."""
        return closing(
            KeyringGuard(
                self.keyring, self.database, trusts=signing_keys.trusted, audit_enabled=self.audit_enabled
            )
        )


@contextmanager
def connected(
    output: Output,
    *,
    reading: bool = False,
    recorded: bool = False,
    scratch: str = "",
    audit_enabled: bool | None = None,
) -> Iterator[CommandContext]:
    """Connect as the service does, and yield the context of a command.

    *output* gets a note about settings from a file. A command that only reads (*reading*) changes nothing,
    also no index and no retention. It works for a MongoDB user with read access only, and on a tampered trail
    that keeps the service from starting. The name of a *scratch* database selects that one on the same
    servers; its trail has no retention.

    Other commands, and reading ones that are *recorded*, need every master key in use, and the database's
    state of the audit trail. *audit_enabled* replaces the setting.

    Raises:
        AuditStateError: `AUDIT_ENABLED` disagrees with the database; nothing was written.
        KeyMissingError: The keyring lacks a key in use; the message names it. Nothing was written.
        SettingsError: The environment has invalid settings.
        StorageUnavailableError: MongoDB is not available.
    """
    settings = _settings()
    if settings.dotenv:
        output.note(f"Settings from {dotenv_path()}: {', '.join(settings.dotenv)}")
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
        _ping(database, settings.mongo_uri)
        if recorded or not reading:
            require_agreement(keyring, signing_keys.trusted, audit_enabled=audited)
        if not reading:
            database.prepare()
        yield CommandContext(
            keyring,
            database,
            settings.audit_ttl_days,
            audited,
            settings.weak_keys,
            settings.token_max_days,
            settings.max_secret_bytes,
            settings.max_versions,
            settings_authenticator(
                jwks_url=settings.jwt_jwks_url,
                public_key=settings.jwt_public_key,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                roles_only=settings.jwt_roles_only,
            ),
        )
    finally:
        trail.disconnect()
        database.close()


def _settings() -> Settings:
    try:
        return Settings.from_environment()
    except SettingsError as error:
        raise SettingsError(
            error.problem,
            hint="this command needs the settings of the service, in the environment or in .env: see "
            "docs/settings.md",
        ) from None


def _ping(database: Database, uri: str) -> None:
    try:
        database.ping()
    except StorageUnavailableError as error:
        if error.is_denied:
            raise
        raise StorageUnavailableError(
            f"{error.problem}: {database.explanation() or error.reason}",
            hint=f"check that MongoDB runs at {mongodb_address(uri)}, and that MONGO_URI leads to it",
        ) from None


@contextmanager
def operator_attempt(output: Output, action: Action) -> Iterator[tuple[CommandContext, TokenKeys, Attempt]]:
    """Yield the context, the token key and the operator's attempt at *action*; every refusal is recorded."""
    with connected(output) as context, context.guard() as guard:
        attempt = Attempt(action=action, principal=OPERATOR)
        try:
            yield context, TokenKeys(context.keyring, guard), attempt
        except VaultError as error:
            attempt.finish(outcome_of(error))
            raise
