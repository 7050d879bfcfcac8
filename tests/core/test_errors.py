"""The names of errors that operators see: renaming a class changes none of them."""

import importlib
import logging
import pkgutil
import sys
from collections.abc import Iterator

import pytest
from werkzeug.exceptions import InternalServerError, UnprocessableEntity

import vault
from vault.api import errors as api_errors
from vault.api.errors import REASONS
from vault.core.errors import DecryptionError, VaultError
from vault.observability import logs

#: Kind, and name as an exception type.
NAMES = {
    "address_refused": "AddressRefusedError",
    "ambiguous_token_name": "AmbiguousTokenNameError",
    "audit_state": "AuditStateError",
    "audit_unavailable": "AuditUnavailableError",
    "backup_refused": "BackupRefusedError",
    "credential_required": "CredentialRequiredError",
    "credentials_unavailable": "CredentialsUnavailableError",
    "decryption": "DecryptionError",
    "duplicate_name": "DuplicateNameError",
    "fixed": "FixedError",
    "grant_refused": "GrantRefusedError",
    "idempotency_mismatch": "IdempotencyMismatchError",
    "invalid_backup": "InvalidBackupError",
    "invalid_checkpoint": "InvalidCheckpointError",
    "invalid_credential": "InvalidCredentialError",
    "invalid_cursor": "InvalidCursorError",
    "invalid_token_name": "InvalidTokenNameError",
    "key_missing": "KeyMissingError",
    "key_unshared": "KeyUnsharedError",
    "mongod_unavailable": "MongodUnavailableError",
    "name_taken": "NameTakenError",
    "newest_version": "NewestVersionError",
    "overloaded": "OverloadedError",
    "rate_limited": "RateLimitedError",
    "replica_set": "ReplicaSetError",
    "restore_refused": "RestoreRefusedError",
    "restore_unfinished": "RestoreUnfinishedError",
    "revocation_refused": "RevocationRefusedError",
    "rewrap_refused": "RewrapRefusedError",
    "scope_missing": "ScopeMissingError",
    "secret_busy": "SecretBusyError",
    "secret_not_deleted": "SecretNotDeletedError",
    "secret_not_found": "SecretNotFoundError",
    "secret_too_large": "SecretTooLargeError",
    "settings": "SettingsError",
    "storage_unavailable": "StorageUnavailableError",
    "token_not_found": "TokenNotFoundError",
    "trail_index_missing": "TrailIndexMissingError",
    "vault": "VaultError",
    "version_conflict": "VersionConflictError",
    "weak_idempotency_key": "WeakIdempotencyKeyError",
}


def errors() -> Iterator[type[VaultError]]:
    """Yield every error of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(vault.__path__, "vault."):
        if module.name not in (
            "vault.server.gunicorn_conf",
            "vault.cli.__main__",
            "vault.server.__main__",
            "vault.observability.tracing",
        ):
            importlib.import_module(module.name)
    waiting: list[type[VaultError]] = [VaultError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        yield error


def test_every_error_has_its_own_kind() -> None:
    """No error inherits its kind, and no two share one."""
    found = {error: vars(error).get("kind") for error in errors()}
    assert [error for error, kind in found.items() if kind is None] == []
    assert len(set(found.values())) == len(found)


def test_the_names_of_errors_are_frozen() -> None:
    """The name of every error in metrics, logs and spans never changes."""
    assert {error.kind: error.shown_name() for error in errors()} == NAMES


def test_the_reasons_of_refusals_are_frozen() -> None:
    """The values of `refusals_total{reason=…}` never change, so alerts and dashboards keep working."""
    assert sorted(REASONS) == [
        "address_refused",
        "audit_state",
        "audit_unavailable",
        "credential_required",
        "credentials_unavailable",
        "decryption",
        "defect",
        "grant_refused",
        "idempotency_mismatch",
        "invalid_credential",
        "invalid_cursor",
        "invalid_token_name",
        "key_missing",
        "key_unshared",
        "name_taken",
        "newest_version",
        "overloaded",
        "rate_limited",
        "restore_unfinished",
        "revocation_refused",
        "scope_missing",
        "secret_busy",
        "secret_not_deleted",
        "secret_not_found",
        "secret_too_large",
        "storage_unavailable",
        "token_not_found",
        "version_conflict",
        "weak_idempotency_key",
    ]


def test_http_errors_have_werkzeug_s_names() -> None:
    """An HTTP error has the name of Werkzeug's class, anything else is a defect."""
    names = {
        InternalServerError: "internal_server",
        UnprocessableEntity: "unprocessable_entity",
        KeyError: "defect",
    }
    assert {error: api_errors._reason(error) for error in names} == names


def test_a_log_line_names_errors_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logged error has its frozen name; one of Python's has its class name."""
    monkeypatch.setattr(DecryptionError, "kind", "made_up")
    for error, name in ((DecryptionError(), "MadeUpError"), (KeyError(), "KeyError")):
        try:
            raise error
        except (DecryptionError, KeyError):
            record = logging.LogRecord("vault", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        assert f'"exception": ["{name}"' in logs.JsonFormatter().format(record)
