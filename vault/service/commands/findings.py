"""Findings about settings: about them alone, and about what they lead to."""

import secrets
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from vault.common.config.settings import Settings
from vault.common.config.tls_files import refusal
from vault.common.config.validators import MISSING
from vault.common.errors import (
    AuditStateError,
    AuthStateError,
    RestoreUnfinishedError,
    SettingsError,
    StorageUnavailableError,
    VaultError,
)
from vault.common.text import quantity
from vault.core.documents import Database, registry
from vault.core.documents.guard import storage_errors
from vault.core.parts import Parts
from vault.service.commands.context import require_mongodb

Variables = Mapping[str, str]

#: The settings that errors are about; all others are about the master key.
_SETTINGS: Mapping[type[VaultError], str] = {
    AuditStateError: "AUDIT_ENABLED",
    AuthStateError: "AUTH_ENABLED",
    RestoreUnfinishedError: "",
    StorageUnavailableError: "MONGO_URI",
}
_GRANT = "run `secret-manager replicaset grant`"


class Result(StrEnum):
    """The result of a check."""

    OK = "ok"
    #: The service starts, and an operator should know.
    WARNING = "warning"
    #: The service does not start, or does not serve.
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding; *setting* is empty if it is about none alone."""

    result: Result
    text: str
    setting: str = ""


def checked(
    environment: Variables, dotenv: Variables, *, has_files: bool
) -> tuple[Settings | None, list[Finding]]:
    """Return the settings in *environment*, or else in *dotenv*, if they are valid, and what is found.

    Without *has_files*, a file that is not here is where the service runs; the settings are then not known.
    """
    try:
        settings = Settings.from_mapping(environment, dotenv=dotenv)
    except SettingsError as error:
        elsewhere = [name for name, reason in error.invalid.items() if MISSING in reason and not has_files]
        invalid = {name: reason for name, reason in error.invalid.items() if name not in elsewhere}
        texts = error.mistakes if invalid else _warnings_without(elsewhere, environment, dotenv)
        wrong = [Finding(Result.WRONG, reason, name) for name, reason in invalid.items()]
        return None, [*wrong, *(Finding(Result.WARNING, text) for text in texts)]
    return settings, [Finding(Result.WARNING, text) for text in _warnings(settings)]


def _warnings_without(names: list[str], environment: Variables, dotenv: Variables) -> Iterable[str]:
    """Return the warnings about the settings besides *names*, as far as they are valid by themselves."""
    try:
        settings = Settings.from_mapping(_without(names, environment), dotenv=_without(names, dotenv))
    except SettingsError as error:
        return error.mistakes
    return _warnings(settings)


def _without(names: list[str], variables: Variables) -> Variables:
    """Return *variables* without the settings *names*; a new key stands in for a master key among them."""
    both = {*names, *(f"{name}_FILE" for name in names)}
    rest = {name: value for name, value in variables.items() if name not in both}
    is_keyless = "MASTER_KEY" in names and "MASTER_KEY_FILE" in variables
    return rest | ({"MASTER_KEY": b64encode(secrets.token_bytes(32)).decode()} if is_keyless else {})


def _warnings(settings: Settings) -> Iterator[str]:
    yield from settings.exposures
    yield from settings.mistakes
    yield from settings.certificates.warnings
    yield from (f"weak master key: {weakness}; rotate it" for weakness in settings.weak_keys)
    certificate, key, authority = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    reason = refusal(certificate, key, authority) if certificate and key and authority else ""
    if reason:
        yield f"TLS_CLIENT_CA does not accept TLS_CERT, with which `secret-manager ready` asks: {reason}"


def online(settings: Settings) -> Iterator[Finding]:
    """Yield what is found where *settings* lead: in MongoDB, and at the providers of the master keys.

    Reads only.
    """
    try:
        settings = settings.with_keys()
        database = Database(settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days)
        with closing(Parts(settings, database, auth_enabled=settings.auth_enabled)) as parts:
            require_mongodb(database, settings.mongo_uri)
            yield Finding(Result.OK, "MongoDB answers", "MONGO_URI")
            yield from _of_mongodb(database)
            yield from _of_privileges(database)
            yield from _of_keys(parts)
    except VaultError as error:
        yield _wrong(error)


def _wrong(error: VaultError) -> Finding:
    setting = next((name for kind, name in _SETTINGS.items() if isinstance(error, kind)), "MASTER_KEY")
    is_denied = isinstance(error, StorageUnavailableError) and error.is_denied
    return Finding(Result.WRONG, f"{error}; {_GRANT}" if is_denied else str(error), setting)


def _of_mongodb(database: Database) -> Iterator[Finding]:
    primary = database.ping()
    failure = primary.clock_failure
    found = (
        (Result.WRONG, failure),
        (Result.WARNING, "" if failure else primary.clock_warning),
        (Result.WARNING, primary.redundancy_warning),
    )
    yield from (Finding(result, text) for result, text in found if text)


def _of_privileges(database: Database) -> Iterator[Finding]:
    privileges = database.privileges()
    for collection, actions in privileges.missing.items():
        place = f"the collection {collection}" if collection else "the database"
        text = f"the MongoDB user lacks {', '.join(actions)} on {place}; {_GRANT}"
        yield Finding(Result.WRONG, text, "MONGO_URI")
    if privileges.rewriting:
        text = f"the MongoDB user may rewrite the audit trail ({', '.join(privileges.rewriting)}); {_GRANT}"
        yield Finding(Result.WARNING, text, "MONGO_URI")


def _of_keys(parts: Parts) -> Iterator[Finding]:
    if refusals := parts.guard.refusals():
        yield from map(_wrong, refusals)
        return
    with storage_errors():
        workers = registry.running_workers()
    primary = parts.keyring.primary.id
    encrypting = sum(count for claim, count in workers.items() if claim.key_id == primary)
    shown = f"{encrypting} of {quantity(workers.total(), 'worker')}"
    yield Finding(Result.OK, f"the key {primary} encrypts in {shown}", "MASTER_KEY")
